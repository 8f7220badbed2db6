/** Which resolver may be believed (RFC 7672 §2.1.1): validating by address, over TLS, our own; and those that are not. */
import { deferred, delivered, type Scenario, type ScenarioGroup } from "../scenario.ts";
import type { RelayName } from "../relays.ts";

const authenticated = delivered("authenticated");
const noMatch = deferred("validation-failure", /dane-no-match/);
const toldNone = "no-policy-found ok";
const toldNoMatch = "tlsa of mx failed validation-failure/dane-no-match";
const wrongKey = `3 1 1 ${"ab".repeat(32)}`;

function believed(relay: RelayName, what: string): Scenario[] {
  return [
    {
      name: `${what}: DANE is in force`,
      section: "RFC 7672 §2.1.1",
      relay,
      set(site, faulty) {
        site.use("signed");
        if (faulty) site.tlsa(site.mx(), wrongKey);
        else site.daneMx();
      },
      must: noMatch,
      control: ["the record matches", authenticated],
      told: [toldNoMatch, "tlsa of mx ok"],
    },
    {
      name: `${what}: bogus TLSA makes the host unreachable`,
      section: "RFC 7672 §2.1.2",
      relay,
      set(site, faulty) {
        const host = site.use("signed").daneMx();
        if (!faulty) return;
        site.spoil(`_25._tcp.${host.name}`, "TLSA", "tampered");
        site.neverConnected(host);
      },
      must: deferred("dnssec-invalid"),
      control: ["a sound signature", authenticated],
      // Until a resolver has shown that it validates, what fails there is this relay's own trouble (RFC 8460 §4.3.4).
      told: [relay === "mute" ? "nothing" : "tlsa of mx failed dnssec-invalid/*", "tlsa of mx ok"],
    },
    {
      name: `${what}: an unsigned host has no DANE`,
      section: "RFC 7672 §2.2.2",
      relay,
      set(site, faulty) {
        const host = site.use(faulty ? "plain" : "signed").mx();
        site.tlsa(host, wrongKey);
      },
      must: authenticated,
      control: ["a signed one has", noMatch],
      told: [toldNone, toldNoMatch],
    },
  ];
}

/** Nothing is called secure: DANE is off, mail goes by the floor, and MTA-STS is in force as ever. */
function notBelieved(relay: RelayName, what: string): Scenario[] {
  return [
    {
      name: `${what}: DANE is off`,
      section: "RFC 7672 §2.1.1",
      relay,
      controlRelay: "open",
      set(site) {
        site.tlsa(site.use("signed").mx(), wrongKey);
      },
      must: authenticated,
      control: ["a resolver that is believed", noMatch],
      told: [toldNone, toldNoMatch],
    },
    {
      name: `${what}: MTA-STS is in force`,
      section: "RFC 8461 §5",
      relay,
      set(site, faulty) {
        site.use("plain").mx("mx", { startTlsKeyword: "" });
        if (faulty) site.sts();
      },
      must: deferred("starttls-not-supported"),
      control: ["no policy", delivered("clear")],
      told: ["sts failed starttls-not-supported", "no-policy-found failed starttls-not-supported"],
    },
    {
      name: `${what}: REQUIRETLS waits, for nobody can tell whether MX records are signed`,
      section: "RFC 8689 §4.2.1",
      relay,
      controlRelay: "open",
      set(site) {
        site.message.requireTls = true;
        site.use("signed").mx("mx", { requireTls: true });
      },
      must: deferred("validation-failure"),
      control: ["a resolver that is believed", authenticated],
      told: ["nothing", toldNone],
    },
  ];
}

export const resolvers: ScenarioGroup = {
  subject: "Resolvers",
  scenarios: [
    ...believed("managed", "the relay's own resolver"),
    ...believed("dot", "DNS over TLS"),
    ...believed("mute", "a resolver whose self-test somebody drops"),
    ...notBelieved("untrusted", "a resolver nobody vouches for"),
    ...notBelieved("blind", "a resolver that does not validate"),
  ],
};
