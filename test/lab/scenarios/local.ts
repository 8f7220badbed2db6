/** What the operator asks: floors on both scales, and how far published policy counts. */
import { type Channel, deferred, delivered, type Expected, type Scenario, type ScenarioGroup } from "../scenario.ts";
import type { Site } from "../site.ts";
import type { ReceiverBehaviour } from "../world/receivers.ts";

const authenticated = delivered("authenticated");
const noStartTls = deferred("starttls-not-supported");
const daneRequired = deferred("dane-required");
const toldNone = "no-policy-found ok";
const toldNoneBare = "no-policy-found failed starttls-not-supported";
const toldBare = "sts failed starttls-not-supported";
const toldRequired = "tlsa of mx failed dane-required";
const toldNoMatch = "tlsa of mx failed validation-failure/dane-no-match";

function floor(
  relay: "strict" | "encrypted" | "open",
  name: string,
  host: (site: Site) => ReceiverBehaviour,
  must: Expected,
  what: string,
  control: Expected,
  fault: string | undefined,
): Scenario {
  return {
    name: `floor ${relay === "strict" ? "authenticated" : relay === "open" ? "opportunistic" : relay}: ${name}`,
    section: "RFC 3207 §6",
    relay,
    set(site, faulty) {
      site.use("plain").mx("mx", faulty ? host(site) : {});
    },
    must,
    control: [what, control],
    // The operator's floor is no policy of the domain's: any TLS is as good as none of its own asks (table A).
    told: [fault === undefined ? toldNone : `no-policy-found failed ${fault}`, toldNone],
  };
}

const refusing = (): ReceiverBehaviour => ({ answer: (heard) => (heard === "STARTTLS" ? "454 4.7.0 later\r\n" : undefined) });
const breaking = (): ReceiverBehaviour => ({ afterStartTls: (socket) => socket.once("data", () => socket.end()) });
const bare = (): ReceiverBehaviour => ({ startTlsKeyword: "" });
const unknown = (site: Site): ReceiverBehaviour => ({ certificate: site.io.certificates.dane });
const good = "a good host";

const floors: Scenario[] = [
  floor("strict", "no STARTTLS", bare, noStartTls, good, authenticated, "starttls-not-supported"),
  floor("strict", "454", refusing, noStartTls, good, authenticated, "starttls-not-supported/454"),
  floor(
    "strict",
    "a failed handshake",
    breaking,
    deferred("validation-failure"),
    good,
    authenticated,
    "validation-failure/handshake-reset",
  ),
  floor("strict", "an untrusted certificate", unknown, deferred("certificate-expired"), good, authenticated, undefined),
  floor("encrypted", "no STARTTLS", bare, noStartTls, good, authenticated, "starttls-not-supported"),
  floor("encrypted", "454", refusing, noStartTls, good, authenticated, "starttls-not-supported/454"),
  floor(
    "encrypted",
    "a failed handshake",
    breaking,
    deferred("validation-failure"),
    good,
    authenticated,
    "validation-failure/handshake-reset",
  ),
  floor("encrypted", "an untrusted certificate", unknown, delivered("encrypted"), good, authenticated, undefined),
  floor("open", "no STARTTLS", bare, delivered("clear"), good, authenticated, "starttls-not-supported"),
  floor("open", "454", refusing, delivered("clear"), good, authenticated, "starttls-not-supported/454"),
  floor("open", "a failed handshake", breaking, delivered("clear"), good, authenticated, "validation-failure/handshake-reset"),
  floor("open", "an untrusted certificate", unknown, delivered("encrypted"), good, authenticated, undefined),
  floor(
    "open",
    "TLS 1.1 only is not better than clear",
    () => ({ tls: { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" } }),
    delivered("clear"),
    good,
    authenticated,
    "validation-failure/unsupported-protocol",
  ),
  {
    name: "a domain's own floor is above the relay's",
    section: "RFC 3207 §6",
    relay: "open",
    set(site, faulty) {
      site.use("plain").mx("mx", bare());
      if (faulty) site.local = { floor: "encrypted" };
    },
    must: noStartTls,
    control: ["no floor of its own", delivered("clear")],
    told: [toldNoneBare, toldNoneBare],
  },
  {
    name: "a domain's own floor is below the relay's, and its published policy still holds",
    section: "RFC 8461 §5",
    relay: "strict",
    set(site, faulty) {
      site.use("plain").mx("mx", bare());
      site.local = { floor: "opportunistic" };
      if (faulty) site.sts();
    },
    must: noStartTls,
    control: ["it publishes none", delivered("clear")],
    told: [toldBare, toldNoneBare],
  },
];

const hostFloors: Scenario[] = [
  {
    name: "host dnssec: an unsigned domain",
    section: "RFC 7672 §6",
    relay: "dnssec",
    set(site, faulty) {
      const host = site.use(faulty ? "plain" : "signed").daneMx("mx", { in: "signed" });
      if (faulty) site.neverConnected(host);
    },
    must: daneRequired,
    control: ["a signed one", authenticated],
    told: [toldRequired, "tlsa of mx ok"],
  },
  {
    name: "host dnssec: a signed domain and an unsigned host",
    section: "RFC 7672 §6",
    relay: "dnssec",
    set(site, faulty) {
      site.use("signed");
      if (faulty) site.neverConnected(site.mx("mx", { in: "plain" }));
      else site.daneMx();
    },
    must: daneRequired,
    control: ["a signed host with a record", authenticated],
    told: [toldRequired, "tlsa of mx ok"],
  },
  {
    name: "host dnssec: no TLSA records",
    section: "RFC 7672 §6",
    relay: "dnssec",
    set(site, faulty) {
      site.use("signed");
      if (faulty) site.neverConnected(site.mx());
      else site.daneMx();
    },
    must: daneRequired,
    control: ["a record", authenticated],
    told: [toldRequired, "tlsa of mx ok"],
  },
  {
    name: "host dnssec: only unusable TLSA records",
    section: "RFC 7672 §6",
    relay: "dnssec",
    set(site, faulty) {
      const host = site.use("signed").daneMx("mx2", { preference: 20 });
      site.claim("the second host counts in the control only", () => host.receiver?.connections.length === (faulty ? 0 : 1));
      if (!faulty) return;
      site.hosts.delete("mx2");
      site.setDomain(site.name("only"));
      const only = site.mx("mx");
      site.tlsa(only, `1 1 1 ${"ab".repeat(32)}`);
      site.neverConnected(only);
    },
    must: daneRequired,
    control: ["a usable one", delivered("authenticated", "mx2")],
    told: [toldRequired, "tlsa of mx2 ok"],
  },
  {
    name: "host dnssec: MTA-STS is no substitute",
    section: "RFC 7672 §6",
    relay: "dnssec",
    controlRelay: "proven",
    set(site) {
      site.use("plain").mx();
      site.sts();
    },
    must: daneRequired,
    control: ["host proven takes it", authenticated],
    told: [toldRequired, "sts ok"],
  },
  {
    name: "host proven: an unsigned domain without policy",
    section: "RFC 8461 §4.1",
    relay: "proven",
    set(site, faulty) {
      const host = site.use("plain").mx();
      if (faulty) site.neverConnected(host);
      else site.sts();
    },
    must: deferred("validation-failure", /mx-unproven/),
    control: ["a policy that lists the host", authenticated],
    told: ["nothing", "sts ok"],
  },
  {
    name: "host proven: signed MX records are proof",
    section: "RFC 7672 §2.2.1",
    relay: "proven",
    set(site, faulty) {
      site.use(faulty ? "signed" : "plain").mx();
    },
    must: authenticated,
    control: ["unsigned ones are none", deferred("validation-failure", /mx-unproven/)],
    told: [toldNone, "nothing"],
  },
];

/** The same domain under `report` and under `off`, and under enforcement as the control. */
function rollout(
  relay: "report" | "off",
  name: string,
  channel: Channel,
  enforced: Expected,
  told: string,
  set: (site: Site) => void,
): Scenario {
  return {
    name: `published ${relay}: ${name} is delivered to`,
    section: "RFC 8461 §5",
    relay,
    controlRelay: "open",
    set(site, faulty) {
      set(site);
      if (faulty && relay === "report") site.claim("what would have failed is kept", ({ story }) => /wouldHave/.test(story));
      if (faulty && relay === "off") site.fetches(0);
    },
    must: delivered(channel),
    control: ["published policy is enforced", enforced],
    // What is not looked at is not told.
    told: [relay === "off" ? "nothing" : told, told],
  };
}

const rollouts: Scenario[] = (["report", "off"] as const).flatMap((relay) => [
  rollout(
    relay,
    "a host that its policy does not list",
    "authenticated",
    deferred("validation-failure"),
    "sts failed validation-failure/mx-not-in-policy",
    (site) => {
      site.use("plain").mx();
      site.sts({ mx: ["mx.nowhere.test"] });
    },
  ),
  rollout(relay, "a host without STARTTLS under enforce", "clear", noStartTls, toldBare, (site) => {
    site.use("plain").mx("mx", bare());
    site.sts();
  }),
  rollout(
    relay,
    "a certificate of another key than its TLSA record's",
    "authenticated",
    deferred("validation-failure"),
    toldNoMatch,
    (site) => {
      site.tlsa(site.use("signed").mx(), `3 1 1 ${"ab".repeat(32)}`);
      site.sts({ mode: "none" });
    },
  ),
]);

const switches: Scenario[] = [
  {
    name: "published off for one domain",
    section: "RFC 8461 §5",
    relay: "open",
    set(site, faulty) {
      site.use("plain").mx("mx", bare());
      site.sts();
      if (faulty) site.local = { published: "off" };
    },
    must: delivered("clear"),
    control: ["not for the other", noStartTls],
    told: ["nothing", toldBare],
  },
  {
    name: "published report for one domain",
    section: "RFC 7672 §9.1",
    relay: "open",
    set(site, faulty) {
      site.tlsa(site.use("signed").mx(), `3 1 1 ${"ab".repeat(32)}`);
      if (faulty) site.local = { published: "report" };
    },
    must: authenticated,
    control: ["not for the other", deferred("validation-failure", /dane-no-match/)],
    told: [toldNoMatch, toldNoMatch],
  },
  {
    name: "published report and a TLSA look-up that fails",
    section: "RFC 7672 §9.1",
    relay: "report",
    controlRelay: "open",
    set(site) {
      const host = site.use("meddled").mx();
      site.tlsa(host, "3 1 1", site.io.certificates.good.certificate);
      site.meddle(`_25._tcp.${host.name}`, "TLSA", "servfail");
    },
    must: authenticated,
    control: ["enforced", deferred("dnssec-invalid")],
    told: ["tlsa of mx failed dnssec-invalid/*", "tlsa of mx failed dnssec-invalid/*"],
  },
];

export const floorsGroup: ScenarioGroup = { subject: "Floors", scenarios: [...floors, ...hostFloors] };
export const rolloutGroup: ScenarioGroup = { subject: "Rollout", scenarios: [...rollouts, ...switches] };
