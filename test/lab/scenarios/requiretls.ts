/** REQUIRETLS and TLS-Required: No (RFC 8689) from submission to the receiving host. */
import { bounced, deferred, delivered, type Expected, type Scenario, type ScenarioGroup } from "../scenario.ts";
import { DANE_ONLY } from "../world/certificates.ts";
import type { Told } from "../expected-reports.ts";
import type { Site } from "../site.ts";

const authenticated = delivered("authenticated");
const lacksKeyword = bounced("5.7.30");
const noProtection = bounced("5.7.10");
const toldNone = "no-policy-found ok";
const toldNoneBare = "no-policy-found failed starttls-not-supported";
const toldBare = "sts failed starttls-not-supported";
const toldUnlisted = "sts failed validation-failure/mx-not-in-policy";
const toldNoMatch = "tlsa of mx failed validation-failure/dane-no-match";
/** What the sender asks is no policy of the domain: its TLS was good, and a host that he rules out himself is met by nobody. */
const toldGood: Told = [toldNone, toldNone];

function required(
  name: string,
  must: Expected,
  what: string,
  control: Expected,
  told: Told,
  set: (site: Site, faulty: boolean) => void | Promise<void>,
  relay: Scenario["relay"] = "open",
): Scenario {
  return {
    name: `REQUIRETLS: ${name}`,
    section: "RFC 8689 §4.2.1",
    ...(relay !== undefined && { relay }),
    async set(site, faulty) {
      site.message.requireTls = true;
      await set(site, faulty);
      site.claim("the parameter is said to whoever gets the message", () =>
        site.receivers.flatMap(({ messages }) => messages).every(({ mail }) => mail.endsWith(" REQUIRETLS")),
      );
    },
    must,
    control: [what, control],
    told,
  };
}

const table: Scenario[] = [
  required("signed MX, a trusted certificate, the keyword", authenticated, "no keyword", lacksKeyword, toldGood, (site, faulty) => {
    site.use("signed").mx("mx", { requireTls: faulty });
  }),
  required(
    "signed MX, DANE, the keyword",
    authenticated,
    "a record of another key",
    bounced("5.7.10", /dane-no-match/),
    ["tlsa of mx ok", toldNoMatch],
    (site, faulty) => {
      const host = site.use("signed").mx("mx", { requireTls: true, certificate: site.io.certificates.dane });
      if (faulty) site.tlsa(host, "3 1 1", site.io.certificates.dane.certificate);
      else site.tlsa(host, `3 1 1 ${"ab".repeat(32)}`);
    },
  ),
  required("the keyword in clear only", lacksKeyword, "inside TLS", authenticated, toldGood, (site, faulty) => {
    const extensions = ["PIPELINING", "8BITMIME"];
    site.use("signed").mx("mx", faulty ? { extensions: [...extensions, "REQUIRETLS"], tlsExtensions: extensions } : { requireTls: true });
  }),
  required("signed MX, an untrusted certificate", noProtection, "a trusted one", authenticated, toldGood, (site, faulty) => {
    site.use("signed").mx("mx", { requireTls: true, ...(faulty && { certificate: site.io.certificates.dane }) });
  }),
  required(
    "a certificate for the domain instead of the host",
    noProtection,
    "for the host",
    authenticated,
    toldGood,
    async (site, faulty) => {
      site.use("signed");
      site.mx("mx", { requireTls: true, ...(faulty && { certificate: await site.issue({ names: [site.domain] }) }) });
    },
  ),
  required(
    "unsigned MX and no policy",
    noProtection,
    "a policy that lists the host",
    authenticated,
    ["nothing", "sts ok"],
    (site, faulty) => {
      const host = site.use("plain").mx("mx", { requireTls: true });
      if (faulty) site.neverConnected(host);
      else site.sts();
    },
  ),
  required(
    "unsigned MX and a policy in testing that lists the host",
    authenticated,
    "that lists another",
    noProtection,
    ["sts ok", "nothing"],
    (site, faulty) => {
      const host = site.use("plain").mx("mx", { requireTls: true });
      site.sts({ mode: "testing", mx: [faulty ? host.name : "mx.nowhere.test"] });
    },
  ),
  required("unsigned MX and a policy in mode none", noProtection, "in enforce", authenticated, ["nothing", "sts ok"], (site, faulty) => {
    site.use("plain").mx("mx", { requireTls: true });
    site.sts({ mode: faulty ? "none" : "enforce" });
  }),
  required(
    "unsigned MX, and a host that only DANE vouches for",
    noProtection,
    "signed MX",
    authenticated,
    ["nothing", "tlsa of mx ok"],
    (site, faulty) => {
      site.use(faulty ? "plain" : "signed").daneMx("mx", { in: "signed", requireTls: true });
    },
  ),
  required("a domain without MX records needs no proof of its MX", authenticated, "no keyword", lacksKeyword, toldGood, (site, faulty) => {
    site.use("plain").host("mx", { name: site.domain, requireTls: faulty });
  }),
  required("no STARTTLS", noProtection, "STARTTLS", authenticated, [toldNoneBare, toldNone], (site, faulty) => {
    site.use("signed").mx("mx", { requireTls: true, ...(faulty && { startTlsKeyword: "" }) });
  }),
  required(
    "the first host lacks the keyword, the second has it",
    delivered("authenticated", "mx2"),
    "both have it",
    delivered("authenticated", "mx1"),
    ["no-policy-found ok 2", toldNone],
    (site, faulty) => {
      site.use("signed").mx("mx1", { requireTls: !faulty });
      site.mx("mx2", { preference: 20, requireTls: true });
    },
  ),
  required(
    "one host lacks the keyword, the other cannot be reached",
    deferred("connect-failed"),
    "it lacks it, too",
    lacksKeyword,
    [toldNone, "no-policy-found ok 2"],
    (site, faulty) => {
      site.use("signed").mx("mx1", {});
      site.mx("mx2", { preference: 20, ...(faulty && { listens: "closed" }) });
    },
  ),
  required("a failed look-up may pass", deferred("dns-failure"), "no failure", authenticated, ["nothing", toldNone], (site, faulty) => {
    site.use("meddled").mx("mx", { requireTls: true });
    if (faulty) site.meddle(site.domain, "MX", "servfail");
  }),
  required(
    "a route that has it",
    authenticated,
    "that lacks it",
    lacksKeyword,
    ["relay: no-policy-found ok", "relay: no-policy-found ok"],
    (site, faulty) => {
      const host = site.use("plain").host("mx", { requireTls: faulty });
      site.route = { host: host.name };
    },
  ),
  required("TLS-Required: No beside it counts for nothing", lacksKeyword, "the keyword", authenticated, toldGood, (site, faulty) => {
    site.message.header = ["TLS-Required: No"];
    site.use("signed").mx("mx", { requireTls: !faulty });
  }),
  required(
    "published policy is watched only: what the sender asks holds all the same",
    noProtection,
    "a trusted certificate",
    authenticated,
    toldGood,
    (site, faulty) => {
      site.use("signed").mx("mx", { requireTls: true, ...(faulty && { certificate: site.io.certificates.dane }) });
    },
    "report",
  ),
  {
    name: "a message without REQUIRETLS is sent without it, whatever the host offers",
    section: "RFC 8689 §4.2.1",
    relay: "open",
    set(site, faulty) {
      site.message.requireTls = !faulty;
      const host = site.use("signed").mx("mx", { requireTls: true });
      const says = () => host.receiver?.messages[0]?.mail.includes("REQUIRETLS") === true;
      site.claim(faulty ? "MAIL has no parameter" : "MAIL has it", () => says() !== faulty);
    },
    must: authenticated,
    control: ["with it", authenticated],
    told: [toldNone, toldNone],
  },
  {
    name: "REQUIRETLS to an address literal cannot be",
    section: "RFC 8689 §4.2.1",
    relay: "open",
    set(site, faulty) {
      site.message.requireTls = faulty;
      const host = site.host("mx", { requireTls: true });
      site.setDomain(`[${host.address}]`);
    },
    must: noProtection,
    control: ["without it", delivered("encrypted")],
    told: ["nothing", "nothing"],
  },
];

function optional(
  name: string,
  must: Expected,
  what: string,
  control: Expected,
  told: Told,
  set: (site: Site, faulty: boolean) => void,
  header = "TLS-Required: No",
): Scenario {
  return {
    name: `TLS-Required: No: ${name}`,
    section: "RFC 8689 §4.2.2",
    relay: "open",
    set(site, faulty) {
      if (faulty) site.message.header = [header];
      set(site, faulty);
      if (faulty)
        site.claim("the field is relayed unchanged", () =>
          site.receivers.flatMap(({ messages }) => messages).every(({ text }) => text.includes(header)),
        );
    },
    must,
    control: [what, control],
    told,
  };
}

const without = "without the field";
const tagged: Scenario[] = [
  optional(
    "enforce and a bad certificate",
    delivered("encrypted"),
    without,
    deferred("certificate-expired"),
    [`sts failed ${DANE_ONLY}`, `sts failed ${DANE_ONLY}`],
    (site) => {
      site.use("plain").mx("mx", { certificate: site.io.certificates.dane });
      site.sts();
    },
  ),
  optional(
    "enforce and a host that is not listed",
    authenticated,
    without,
    deferred("validation-failure"),
    [toldUnlisted, toldUnlisted],
    (site) => {
      site.use("plain").mx();
      site.sts({ mx: ["mx.nowhere.test"] });
    },
  ),
  optional("enforce and no STARTTLS", delivered("clear"), without, deferred("starttls-not-supported"), [toldBare, toldBare], (site) => {
    site.use("plain").mx("mx", { startTlsKeyword: "" });
    site.sts();
  }),
  optional("DANE and another key", authenticated, without, deferred("validation-failure"), [toldNoMatch, toldNoMatch], (site) => {
    site.tlsa(site.use("signed").mx(), `3 1 1 ${"ab".repeat(32)}`);
  }),
  optional(
    "DANE and a failed handshake",
    delivered("clear"),
    without,
    deferred("validation-failure"),
    ["tlsa of mx failed validation-failure/handshake-reset", "tlsa of mx failed validation-failure/handshake-reset"],
    (site) => {
      site.use("signed").daneMx("mx", { afterStartTls: (socket) => socket.once("data", () => socket.end()) });
    },
  ),
  optional(
    "a failed TLSA look-up",
    authenticated,
    without,
    deferred("dnssec-invalid"),
    ["tlsa of mx failed dnssec-invalid/*", "tlsa of mx failed dnssec-invalid/*"],
    (site) => {
      const host = site.use("meddled").mx();
      site.tlsa(host, "3 1 1", site.io.certificates.good.certificate);
      site.meddle(`_25._tcp.${host.name}`, "TLSA", "servfail");
    },
  ),
  optional(
    "in other letters",
    delivered("clear"),
    without,
    deferred("starttls-not-supported"),
    [toldBare, toldBare],
    (site) => {
      site.use("plain").mx("mx", { startTlsKeyword: "" });
      site.sts();
    },
    "tls-required:  NO",
  ),
  {
    name: "TLS-Required: Yes is no tag",
    section: "RFC 8689 §3",
    relay: "open",
    set(site, faulty) {
      site.message.header = [`TLS-Required: ${faulty ? "Yes" : "No"}`];
      site.use("plain").mx("mx", { startTlsKeyword: "" });
      site.sts();
    },
    must: deferred("starttls-not-supported"),
    control: ["No is one", delivered("clear")],
    told: [toldBare, toldBare],
  },
  {
    name: "TLS-Required: No does not help against a failed MX look-up",
    section: "RFC 8689 §3",
    relay: "open",
    set(site, faulty) {
      site.message.header = ["TLS-Required: No"];
      site.use("meddledPlain").mx();
      if (faulty) site.meddle(site.domain, "MX", "servfail");
    },
    must: deferred("dns-failure"),
    control: ["it does not fail", authenticated],
    told: ["nothing", toldNone],
  },
  {
    name: "TLS-Required: No does not help against a null MX",
    section: "RFC 7505 §3",
    relay: "open",
    set(site, faulty) {
      site.message.header = ["TLS-Required: No"];
      site.use("plain");
      if (faulty) site.record(site.domain, "MX", "0 .");
      else site.mx();
    },
    must: bounced("5.1.10"),
    control: ["a real MX", authenticated],
    told: ["nothing", toldNone],
  },
  {
    name: "TLS-Required: No does not go below the operator's floor",
    section: "RFC 8689 §4.3",
    relay: "strict",
    controlRelay: "honouring",
    set(site) {
      site.message.header = ["TLS-Required: No"];
      site.use("plain").mx("mx", { startTlsKeyword: "" });
    },
    must: deferred("starttls-not-supported"),
    control: ["he honours it for this network", delivered("clear")],
    told: [toldNoneBare, toldNoneBare],
  },
  {
    name: "TLS-Required: No, and a host that refuses MAIL in clear",
    section: "RFC 8689 §4.2.2",
    relay: "open",
    set(site, faulty) {
      site.message.header = ["TLS-Required: No"];
      const answer = (heard: string) => (heard.startsWith("MAIL") ? "530 5.7.0 Must issue a STARTTLS command first\r\n" : undefined);
      const host = site.use("plain").mx("mx", { startTlsKeyword: "", ...(faulty && { answer }) });
      if (host.receiver !== undefined) site.mayHear.add(host.receiver);
    },
    must: bounced("5.7.0", /530/),
    control: ["it takes mail in clear", delivered("clear")],
    told: [toldNoneBare, toldNoneBare],
  },
];

export const requireTls: ScenarioGroup = { subject: "REQUIRETLS", scenarios: table };
export const tlsRequiredNo: ScenarioGroup = { subject: "TLS-Required: No", scenarios: tagged };
