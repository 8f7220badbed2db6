/** Real Postfix and Exim as receivers, each under both policies. */
import { deferred, delivered, type Scenario, type ScenarioGroup } from "../scenario.ts";
import { FIXED } from "../world/addresses.ts";
import { tlsaFor } from "../world/certificates.ts";

function real(kind: "postfix" | "exim"): Scenario[] {
  const named = kind === "postfix" ? "Postfix" : "Exim";
  const set = (site: Parameters<Scenario["set"]>[0]): string => {
    site.use("signed");
    site.real = kind;
    const name = site.name("mx");
    site.record(site.domain, "MX", `10 ${name}.`);
    site.record(name, "A", FIXED[kind]);
    return name;
  };
  return [
    {
      name: `${named} with a TLSA record of another key`,
      section: "RFC 7672 §2.2",
      set(site, faulty) {
        const name = set(site);
        site.tlsa(name, faulty ? `3 1 1 ${"ab".repeat(32)}` : tlsaFor("3 1 1", site.io.certificates.good.certificate));
      },
      must: deferred("validation-failure", /dane-no-match/),
      control: ["of its own", delivered("authenticated", kind)],
      told: ["tlsa of mx failed validation-failure/dane-no-match", "tlsa of mx ok"],
    },
    {
      name: `${named} that the policy does not list`,
      section: "RFC 8461 §4.1",
      set(site, faulty) {
        const name = set(site);
        site.sts({ mx: [faulty ? "mx.nowhere.test" : name] });
      },
      must: deferred("validation-failure", /mx-not-in-policy/),
      control: ["that it lists", delivered("authenticated", kind)],
      told: ["sts failed validation-failure/mx-not-in-policy", "sts ok"],
    },
  ];
}

export const realReceivers: ScenarioGroup = { subject: "Real receivers", scenarios: [...real("postfix"), ...real("exim")] };
