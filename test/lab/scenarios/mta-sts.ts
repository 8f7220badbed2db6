import { deferred, delivered, type ScenarioGroup } from "../scenario.ts";

export const mtaSts: ScenarioGroup = {
  subject: "MTA-STS",
  scenarios: [
    {
      name: "enforce and a host without STARTTLS",
      section: "RFC 8461 §5",
      relay: "open",
      set(site, faulty) {
        site.use("plain").mx("mx", faulty ? { startTlsKeyword: "" } : {});
        site.sts();
      },
      then: deferred("starttls-not-supported"),
      control: ["it offers STARTTLS", delivered("authenticated")],
    },
  ],
};
