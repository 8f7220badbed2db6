/**
 * DANE (RFC 7672) end to end: which records bind, what they ask, what matches them. The floor is opportunistic, so that
 * nothing but DANE can hold a message back, and hosts show a certificate that only DANE can vouch for.
 */
import { createTestCa, type IssuedCertificate, issueBelow } from "../../support/certificates.ts";
import { bounced, type Channel, deferred, delivered, type Expected, type Scenario, type ScenarioGroup } from "../scenario.ts";
import type { Told } from "../expected-reports.ts";
import type { Host, Site } from "../site.ts";
import { inDays, splitChain, type TlsaParameters, tlsaFor } from "../world/certificates.ts";
import type { BaseZone } from "../zones.ts";

const noMatch = deferred("validation-failure", /dane-no-match/);
const noStartTls = deferred("starttls-not-supported");
const wrongKey = `3 1 1 ${"ab".repeat(32)}`;
const toldGood = "tlsa of mx ok";
const toldNoMatch = "tlsa of mx failed validation-failure/dane-no-match";
const toldBare = "tlsa of mx failed starttls-not-supported";
const toldNone = "no-policy-found ok";
const toldNoneBare = "no-policy-found failed starttls-not-supported";

/** Table A: one host, its TLSA records right or wrong. */
const hosts: Scenario[] = [
  {
    name: "a certificate that only DANE can vouch for is enough",
    section: "RFC 7672 §2.2",
    relay: "strict",
    set(site, faulty) {
      site.use("signed");
      if (faulty) site.daneMx();
      else site.mx("mx", { certificate: site.io.certificates.dane });
    },
    must: delivered("authenticated"),
    control: ["without the TLSA record", deferred("certificate-expired")],
    told: [toldGood, toldNone],
  },
  {
    name: "a trusted CA's certificate of another key is not enough",
    section: "RFC 7672 §3.1.2",
    relay: "open",
    set(site, faulty) {
      const host = site.use("signed").mx();
      site.tlsa(host, faulty ? wrongKey : tlsaFor("3 1 1", site.io.certificates.good.certificate));
    },
    must: noMatch,
    control: ["the record is of its key", delivered("authenticated")],
    told: [toldNoMatch, toldGood],
  },
  {
    name: "records that bind, and a host without STARTTLS",
    section: "RFC 7672 §2.2.3",
    relay: "open",
    set(site, faulty) {
      site.use("signed").daneMx("mx", faulty ? { startTlsKeyword: "" } : {});
    },
    must: noStartTls,
    control: ["it offers STARTTLS", delivered("authenticated")],
    told: [toldBare, toldGood],
  },
  {
    name: "records that bind, and 454 to STARTTLS",
    section: "RFC 7672 §2.2",
    relay: "open",
    set(site, faulty) {
      site.use("signed").daneMx("mx", faulty ? { answer: (heard) => (heard === "STARTTLS" ? "454 4.7.0 later\r\n" : undefined) } : {});
    },
    must: noStartTls,
    control: ["220", delivered("authenticated")],
    told: ["tlsa of mx failed starttls-not-supported/454", toldGood],
  },
  {
    name: "records that bind, a handshake that fails, and no second connection in clear",
    section: "RFC 7672 §2.2",
    relay: "open",
    set(site, faulty) {
      const host = site.use("signed").daneMx("mx", faulty ? { afterStartTls: (socket) => socket.once("data", () => socket.end()) } : {});
      site.claim("one connection", () => host.receiver?.connections.length === 1);
    },
    must: deferred("validation-failure"),
    control: ["it succeeds", delivered("authenticated")],
    told: ["tlsa of mx failed validation-failure/handshake-reset", toldGood],
  },
  {
    name: "TLS 1.1 does not do",
    section: "RFC 7671 §3",
    relay: "open",
    async set(site, faulty) {
      const { ca } = site.io.certificates;
      const certificate = await ca.issue({ names: [site.use("signed").name("mx")], key: "rsa-2048" });
      const old = { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" } as const;
      site.tlsa(site.mx("mx", { certificate, ...(faulty && { tls: old }) }), "3 1 1", certificate.certificate);
    },
    must: deferred("validation-failure", /TLS 1\.2/),
    control: ["TLS 1.2 or later", delivered("authenticated")],
    told: ["tlsa of mx failed validation-failure/unsupported-protocol", toldGood],
  },
  {
    name: "an RSA key of 1024 bits will do where its own record says so",
    section: "RFC 7671 §5.1",
    relay: "open",
    async set(site, faulty) {
      const certificate = await site.issue({ names: [site.use("signed").name("mx")], key: "rsa-1024" });
      const host = site.mx("mx", { certificate, tls: { ciphers: "DEFAULT@SECLEVEL=0" } });
      site.tlsa(host, faulty ? tlsaFor("3 1 1", certificate.certificate) : wrongKey);
    },
    must: delivered("authenticated"),
    control: ["a record of another key", noMatch],
    told: [toldGood, toldNoMatch],
  },
  ...(["signed", "nsec3"] as const).map(
    (zone): Scenario => ({
      name: `no TLSA, proven in ${zone === "signed" ? "NSEC" : "NSEC3"}: DANE does not apply`,
      section: "RFC 7672 §2.2.3",
      relay: "open",
      set(site, faulty) {
        const host = site.use(zone).mx("mx", { startTlsKeyword: "" });
        if (!faulty) site.tlsa(host, wrongKey);
        site.asked(`_25._tcp.${host.name}`, "TLSA");
      },
      must: delivered("clear"),
      control: ["there is one", noStartTls],
      told: [toldNoneBare, toldBare],
    }),
  ),
  {
    name: "no TLSA, without proof (opt-out): DANE does not apply",
    section: "RFC 7672 §2.1.1",
    relay: "open",
    set(site, faulty) {
      const host = site.use("optout").mx("mx", { startTlsKeyword: "" });
      if (!faulty) site.tlsa(host, wrongKey);
    },
    must: delivered("clear"),
    control: ["there is one", noStartTls],
    told: [toldNoneBare, toldBare],
  },
  {
    name: "no TLSA, without proof (too many iterations): DANE does not apply",
    section: "RFC 9276 §3.2",
    relay: "open",
    set(site, faulty) {
      const host = site.use("iterations").mx("mx", { startTlsKeyword: "" });
      if (!faulty) site.tlsa(host, wrongKey);
    },
    must: delivered("clear"),
    control: ["there is one, and it is signed", noStartTls],
    told: [toldNoneBare, toldBare],
  },
  ...(
    [
      ["an unsigned zone", "plain"],
      ["an unsigned zone below an opt-out", "plainBelowOptout"],
      ["a signed zone that no DS leads to", "island"],
      ["a zone whose algorithm nobody knows", "unknownAlgorithm"],
      ["a zone whose DS has a digest nobody knows", "unknownDigest"],
    ] as const
  ).map(
    ([what, zone]): Scenario => ({
      name: `a host in ${what}: no TLSA is asked, DANE does not apply`,
      section: "RFC 7672 §2.2.2",
      relay: "open",
      set(site, faulty) {
        site.use("signed");
        const host = site.mx("mx", { ...(faulty && { in: zone }), startTlsKeyword: "" });
        site.tlsa(host, wrongKey);
        if (faulty) site.neverAsked(`_25._tcp.${host.name}`, "TLSA");
      },
      must: delivered("clear"),
      control: ["the host is in a signed zone", noStartTls],
      told: [toldNoneBare, toldBare],
    }),
  ),
  {
    name: "an unsigned domain with a signed host: the host's records bind",
    section: "RFC 7672 §2.2.1",
    relay: "open",
    controlRelay: "signedMxOnly",
    set(site) {
      const host = site.use("plain").mx("mx", { in: "signed" });
      site.tlsa(host, wrongKey);
    },
    must: noMatch,
    control: ["they are set to count with signed MX records only", delivered("authenticated")],
    told: [toldNoMatch, toldNone],
  },
  {
    name: "an MX host without addresses is unreachable, and its TLSA is not asked",
    section: "RFC 7672 §2.2.2",
    relay: "open",
    set(site, faulty) {
      site.use("signed");
      const first = site.mx("mx1", { preference: 10, ...(faulty && { listens: "none" }) });
      site.daneMx("mx2", { preference: 20 });
      if (faulty) site.neverAsked(`_25._tcp.${first.name}`, "TLSA");
    },
    must: delivered("authenticated", "mx2"),
    control: ["it has one", delivered("authenticated", "mx1")],
    told: ["tlsa of mx2 ok", toldNone],
  },
  {
    name: "TLSA of the domain itself counts for nothing where it has MX records",
    section: "RFC 7672 §2.2.1",
    relay: "open",
    set(site, faulty) {
      const host = site.use("signed").mx("mx", { startTlsKeyword: "" });
      site.tlsa(faulty ? site.domain : host, wrongKey);
      if (faulty) site.neverAsked(`_25._tcp.${site.domain}`, "TLSA");
    },
    must: delivered("clear"),
    control: ["it is the host's", noStartTls],
    told: [toldNoneBare, toldBare],
  },
  {
    name: "TLSA of port 587 says nothing about port 25",
    section: "RFC 7672 §2.2.3",
    relay: "open",
    set(site, faulty) {
      const host = site.use("signed").mx("mx", { startTlsKeyword: "" });
      site.tlsa(host, wrongKey, undefined, faulty ? 587 : 25);
    },
    must: delivered("clear"),
    control: ["of port 25", noStartTls],
    told: [toldNoneBare, toldBare],
  },
  {
    name: "a route to another port asks for TLSA of that port",
    section: "RFC 7672 §2.2.3",
    relay: "open",
    set(site, faulty) {
      const host = site.use("signed").host("relay", { port: 2525 });
      site.route = { host: host.name, port: 2525 };
      site.tlsa(host, wrongKey, undefined, faulty ? 25 : 25);
      site.neverAsked(`_25._tcp.${host.name}`, "TLSA");
      if (!faulty) site.route = { host: host.name, port: 2525, tlsName: "other.test" };
    },
    must: delivered("authenticated", "relay"),
    control: ["another name is demanded", deferred("certificate-host-mismatch")],
    told: ["relay: no-policy-found ok", "relay: no-policy-found ok"],
  },
  {
    name: "a domain without MX records is its own host",
    section: "RFC 7672 §2.2.2",
    relay: "open",
    set(site, faulty) {
      site.use("signed").host("mx", { name: site.domain });
      if (faulty) site.tlsa(site.domain, wrongKey);
    },
    must: noMatch,
    control: ["no TLSA record", delivered("authenticated")],
    told: ["tlsa of domain failed validation-failure/dane-no-match", toldNone],
  },
  {
    name: "a host without TLSA before one with: the order stays",
    section: "RFC 7672 §2.2.1",
    relay: "open",
    set(site, faulty) {
      site.use("signed").mx("mx1", { preference: faulty ? 10 : 30, startTlsKeyword: "" });
      site.daneMx("mx2", { preference: 20 });
    },
    must: delivered("clear", "mx1"),
    control: ["its preference is the worse one", delivered("authenticated", "mx2")],
    told: [toldNoneBare, "tlsa of mx2 ok"],
  },
  {
    name: "a host that fails DANE is passed over, and the next one has no TLSA",
    section: "RFC 7672 §2.1.2",
    relay: "open",
    set(site, faulty) {
      const first = site.use("signed").mx("mx1", { preference: 10 });
      site.tlsa(first, faulty ? wrongKey : tlsaFor("3 1 1", site.io.certificates.good.certificate));
      site.mx("mx2", { preference: 20, certificate: null });
    },
    must: delivered("clear", "mx2"),
    control: ["it does not fail", delivered("authenticated", "mx1")],
    told: [`${toldNoMatch.replace("mx", "mx1")} + ${toldNoneBare}`, "tlsa of mx1 ok"],
  },
  {
    name: "a host that fails DANE is passed over, and the next one refuses the recipient for good",
    section: "RFC 7672 §2.1.2",
    relay: "open",
    set(site, faulty) {
      const first = site.use("signed").mx("mx1", { preference: 10 });
      site.tlsa(first, faulty ? wrongKey : tlsaFor("3 1 1", site.io.certificates.good.certificate));
      const second = site.mx("mx2", {
        preference: 20,
        answer: (heard) => (heard.startsWith("RCPT") ? "550 5.1.1 no such user\r\n" : undefined),
      });
      if (second.receiver !== undefined && faulty) site.mayHear.add(second.receiver);
    },
    must: bounced("5.1.1"),
    control: ["the first does not fail", delivered("authenticated", "mx1")],
    told: [`${toldNoMatch.replace("mx", "mx1")} + ${toldNone}`, "tlsa of mx1 ok"],
  },
];

/** Table B: which name's records count. `mx` is always the MX record's exchange. */
interface Alias {
  readonly site: Site;
  /** The name in the MX record. */
  readonly written: string;
  readonly target: Host;
}

function aliased(site: Site, aliasIn: BaseZone, targetIn: BaseZone, certificate?: IssuedCertificate): Alias {
  site.use("signed");
  const written = site.nameIn(aliasIn, "mx");
  const target = site.host("target", { in: targetIn, ...(certificate !== undefined && { certificate }) });
  site.record(site.domain, "MX", `10 ${written}.`);
  site.record(written, "CNAME", `${target.name}.`);
  return { site, written, target };
}

/** The base domain is the one whose records count. */
const toldTarget = { good: "tlsa of target ok", noMatch: "tlsa of target failed validation-failure/dane-no-match" };

function candidate(
  name: string,
  must: Expected,
  what: string,
  control: Expected,
  told: Told,
  set: (site: Site, faulty: boolean) => void,
): Scenario {
  return { name, section: "RFC 7672 §2.2.3", relay: "open", set, must, control: [what, control], told };
}

const candidates: Scenario[] = [
  candidate(
    "alias, secure throughout: the expanded name's records come first",
    noMatch,
    "they match",
    delivered("authenticated", "target"),
    [toldTarget.noMatch, toldTarget.good],
    (site, faulty) => {
      const { written, target } = aliased(site, "signed", "other");
      const { good } = site.io.certificates;
      site.tlsa(target, faulty ? wrongKey : tlsaFor("3 1 1", good.certificate));
      site.tlsa(written, faulty ? tlsaFor("3 1 1", good.certificate) : wrongKey);
      site.serverName(target, target.name);
    },
  ),
  candidate(
    "alias, secure throughout, no record at the expanded name: the name as written",
    noMatch,
    "they match",
    delivered("authenticated", "target"),
    [toldNoMatch, toldGood],
    (site, faulty) => {
      const { written, target } = aliased(site, "signed", "other");
      site.tlsa(written, faulty ? wrongKey : tlsaFor("3 1 1", site.io.certificates.good.certificate));
      site.serverName(target, written);
    },
  ),
  candidate(
    "signed alias to an unsigned host: the records of the name as written bind",
    noMatch,
    "they match",
    delivered("authenticated", "target"),
    [toldNoMatch, toldGood],
    (site, faulty) => {
      const { written, target } = aliased(site, "signed", "plain");
      site.tlsa(written, faulty ? wrongKey : tlsaFor("3 1 1", site.io.certificates.good.certificate));
      site.tlsa(target, wrongKey);
      site.neverAsked(`_25._tcp.${target.name}`, "TLSA");
    },
  ),
  candidate(
    "unsigned alias to a signed host: no records bind",
    delivered("authenticated", "target"),
    "a signed alias",
    noMatch,
    [toldNone, toldTarget.noMatch],
    (site, faulty) => {
      const { target, written } = aliased(site, faulty ? "plain" : "signed", "other");
      site.tlsa(target, wrongKey);
      site.tlsa(written, wrongKey);
      if (faulty) site.neverAsked(`_25._tcp.${target.name}`, "TLSA");
      if (faulty) site.neverAsked(`_25._tcp.${written}`, "TLSA");
    },
  ),
  candidate(
    "records at a name in the middle of a chain count for nothing",
    delivered("authenticated", "target"),
    "records at its end",
    noMatch,
    [toldNone, toldTarget.noMatch],
    (site, faulty) => {
      site.use("signed");
      const target = site.host("target", { in: "other" });
      const [written, middle] = [site.name("mx"), site.name("middle")];
      site.record(site.domain, "MX", `10 ${written}.`);
      site.record(written, "CNAME", `${middle}.`);
      site.record(middle, "CNAME", `${target.name}.`);
      site.tlsa(faulty ? middle : target, wrongKey);
    },
  ),
  candidate(
    "secure, insecure, secure: only the name as written can have records",
    noMatch,
    "it has none",
    delivered("authenticated", "target"),
    [toldNoMatch, toldNone],
    (site, faulty) => {
      site.use("signed");
      const target = site.host("target", { in: "other" });
      const [written, middle] = [site.name("mx"), site.nameIn("plain", "middle")];
      site.record(site.domain, "MX", `10 ${written}.`);
      site.record(written, "CNAME", `${middle}.`);
      site.record(middle, "CNAME", `${target.name}.`);
      site.tlsa(target, wrongKey);
      if (faulty) site.tlsa(written, wrongKey);
    },
  ),
  candidate(
    "an alias loop at the MX host makes it unreachable",
    delivered("authenticated", "mx2"),
    "no loop",
    delivered("authenticated", "mx1"),
    ["tlsa of mx2 ok", toldNone],
    (site, faulty) => {
      site.use("signed");
      if (faulty) {
        site.record(site.domain, "MX", `10 ${site.name("mx1")}.`);
        site.record(site.name("mx1"), "CNAME", `${site.name("loop")}.`);
        site.record(site.name("loop"), "CNAME", `${site.name("mx1")}.`);
      } else site.mx("mx1");
      site.daneMx("mx2", { preference: 20 });
    },
  ),
  candidate(
    "a host below a signed DNAME has the candidates of the alias it yields",
    noMatch,
    "the record matches",
    delivered("authenticated", "target"),
    [toldTarget.noMatch, toldTarget.good],
    (site, faulty) => {
      site.use("signed");
      const below = site.name("below");
      const to = site.nameIn("other", "to");
      const target = site.host("target", { name: `host.${to}`, certificate: site.io.certificates.dane });
      site.record(below, "DNAME", `${to}.`);
      site.record(site.domain, "MX", `10 host.${below}.`);
      site.tlsa(target, faulty ? wrongKey : tlsaFor("3 1 1", site.io.certificates.dane.certificate));
    },
  ),
  candidate(
    "a TLSA name may be an alias; base domain and SNI stay",
    delivered("authenticated"),
    "its target's record is of another key",
    noMatch,
    [toldGood, toldNoMatch],
    (site, faulty) => {
      const { dane } = site.io.certificates;
      const host = site.use("signed").mx("mx", { certificate: dane });
      const target = `tlsa.${site.nameIn("other")}`;
      site.record(`_25._tcp.${host.name}`, "CNAME", `${target}.`);
      site.record(target, "TLSA", faulty ? tlsaFor("3 1 1", dane.certificate) : wrongKey);
      site.serverName(host, host.name);
    },
  ),
  candidate(
    "a TLSA name that is an alias into an unsigned zone binds nobody",
    delivered("clear"),
    "into a signed zone",
    noStartTls,
    [toldNoneBare, toldBare],
    (site, faulty) => {
      const host = site.use("signed").mx("mx", { startTlsKeyword: "" });
      const target = `tlsa.${site.nameIn(faulty ? "plain" : "other")}`;
      site.record(`_25._tcp.${host.name}`, "CNAME", `${target}.`);
      site.record(target, "TLSA", wrongKey);
    },
  ),
  candidate(
    "a first candidate with unusable records only wins all the same",
    delivered("encrypted", "target"),
    "it has none",
    noMatch,
    ["tlsa of target failed tlsa-invalid/unsupported-usage", toldNoMatch],
    (site, faulty) => {
      const { written, target } = aliased(site, "signed", "other", site.io.certificates.dane);
      if (faulty) site.tlsa(target, `0 0 1 ${"ab".repeat(32)}`);
      site.tlsa(written, wrongKey);
    },
  ),
  candidate(
    "records by wildcard are records",
    noMatch,
    "they match",
    delivered("authenticated"),
    [toldNoMatch, toldGood],
    (site, faulty) => {
      site.use("signed");
      const host = site.mx("mx", { name: `mx.${site.domain}`, certificate: site.io.certificates.dane });
      site.record(`*._tcp.${host.name}`, "TLSA", faulty ? wrongKey : tlsaFor("3 1 1", site.io.certificates.dane.certificate));
      site.asked(`_25._tcp.${host.name}`, "TLSA");
    },
  ),
];

/** Table C: the host shows a certificate that matches `3 1 1`, and which WebPKI knows nothing of. */
function usability(name: string, records: (pem: string) => string[], channel: Channel, code?: string): Scenario {
  return {
    name: `${name}: ${channel === "encrypted" ? "unusable, so TLS is required and no proof" : "counts"}`,
    section: channel === "encrypted" ? "RFC 7672 §2.2" : "RFC 7672 §3.1",
    relay: "open",
    set(site, faulty) {
      const { dane } = site.io.certificates;
      const host = site.use("signed").mx("mx", { certificate: dane });
      for (const record of faulty ? records(dane.certificate) : [wrongKey]) site.tlsa(host, record);
    },
    must: delivered(channel),
    control: ["a usable record of another key", noMatch],
    told: [code === undefined ? toldGood : `tlsa of mx failed tlsa-invalid/${code}`, toldNoMatch],
  };
}

const hex = (octets: number) => "ab".repeat(octets);
const usabilities: Scenario[] = [
  ...(["3 1 1", "3 0 1", "3 1 2", "3 0 2", "3 1 0", "3 0 0"] as const).map((parameters: TlsaParameters) =>
    usability(parameters, (pem) => [tlsaFor(parameters, pem)], "authenticated"),
  ),
  usability("3 1 1 beside 1 1 1", (pem) => [tlsaFor("3 1 1", pem), `1 1 1 ${hex(32)}`], "authenticated"),
  usability("3 1 1 beside 4 1 1", (pem) => [tlsaFor("3 1 1", pem), `4 1 1 ${hex(32)}`], "authenticated"),
  usability(
    "one of five matches",
    (pem) => [tlsaFor("3 1 1", pem), ...["01", "02", "03", "04"].map((end) => `3 1 1 ${hex(31)}${end}`)],
    "authenticated",
  ),
  usability("0 0 1 only", () => [`0 0 1 ${hex(32)}`], "encrypted", "unsupported-usage"),
  usability("1 1 1 of the very key", (pem) => [tlsaFor("1 1 1", pem)], "encrypted", "unsupported-usage"),
  usability("4 1 1 only", (pem) => [tlsaFor("4 1 1", pem)], "encrypted", "unsupported-usage"),
  usability("255 1 1 only", (pem) => [tlsaFor("255 1 1", pem)], "encrypted", "unsupported-usage"),
  usability("3 2 1 only", () => [`3 2 1 ${hex(32)}`], "encrypted", "unsupported-selector"),
  usability("3 1 3 only", () => [`3 1 3 ${hex(48)}`], "encrypted", "unsupported-matching-type"),
  usability("3 1 1 with 20 octets", () => [`3 1 1 ${hex(20)}`], "encrypted", "malformed-digest"),
  usability("3 0 0 with rubbish", () => [`3 0 0 ${hex(40)}`], "encrypted", "malformed-certificate"),
  {
    name: "only unusable records, and a host without STARTTLS",
    section: "RFC 7672 §2.2",
    relay: "open",
    set(site, faulty) {
      const host = site.use("signed").mx("mx", { startTlsKeyword: "" });
      if (faulty) site.tlsa(host, `1 1 1 ${hex(32)}`);
    },
    must: noStartTls,
    control: ["no record at all", delivered("clear")],
    told: ["tlsa of mx failed starttls-not-supported, tlsa-invalid/unsupported-usage", toldNoneBare],
  },
];

/** Table D and E: below a private CA that only DNS vouches for. */
interface Pki {
  readonly root: string;
  readonly issuer: string;
  readonly leaf: string;
  readonly issued: IssuedCertificate;
}

async function pki(
  names: readonly string[],
  dates: { readonly from?: Date; readonly to?: Date } = {},
  rootDates: { to?: Date } = {},
): Promise<Pki> {
  const root = await createTestCa({ name: "DANE root", ...rootDates });
  const sub = await root.subordinate({ name: "DANE issuer" });
  const issued = await sub.issue({ names, ...dates });
  const [leaf = "", issuer = ""] = splitChain(issued.certificate);
  return { root: root.pem, issuer, leaf, issued };
}

type Part = "leaf" | "issuer" | "root";

interface Chain {
  readonly name: string;
  readonly section: string;
  readonly must: Expected;
  readonly control: readonly [string, Expected];
  readonly told: Told;
  /** For the faulty one and the control: what is sent, what the record is of, names and dates of the leaf. */
  readonly make: (
    site: Site,
    faulty: boolean,
  ) => {
    readonly sent: readonly Part[];
    readonly records: readonly (readonly [TlsaParameters, Part])[];
    readonly names?: readonly string[];
    readonly dates?: { readonly from?: Date; readonly to?: Date };
    readonly rootDates?: { to?: Date };
  };
}

function chain({ name, section, must, control, told, make }: Chain): Scenario {
  return {
    name,
    section,
    relay: "open",
    async set(site, faulty) {
      site.use("signed");
      const { sent, records, names = [site.name("mx")], dates, rootDates } = make(site, faulty);
      const made = await pki(names, dates, rootDates);
      const host = site.mx("mx", { certificate: { ...made.issued, certificate: sent.map((part) => made[part]).join("") } });
      for (const [parameters, part] of records) site.tlsa(host, parameters, made[part]);
    },
    must,
    control,
    told,
  };
}

const authenticated = delivered("authenticated");
const untrusted = deferred("certificate-not-trusted");
const old = { from: inDays(-60), to: inDays(-1) };
const toldNoAnchor = "tlsa of mx failed certificate-not-trusted/dane-ta-not-in-chain";
const toldOtherName = "tlsa of mx failed certificate-host-mismatch";
const toldExpired = "tlsa of mx failed certificate-expired";
const anotherKey = ["a record of the leaf, under usage 2", untrusted] as const;

/** Authenticated with this record and chain; the control has a record that nothing matches. */
function anchors(name: string, record: readonly [TlsaParameters, Part], sent: readonly Part[], section = "RFC 7672 §3.1.2"): Scenario {
  return chain({
    name,
    section,
    must: authenticated,
    control: anotherKey,
    told: [toldGood, toldNoAnchor],
    make: (_site, faulty) => ({ sent, records: [faulty ? record : ["2 0 1", "leaf"]] }),
  });
}

const chains: Scenario[] = [
  anchors("2 0 1 of the issuer, which is sent", ["2 0 1", "issuer"], ["leaf", "issuer"]),
  anchors("2 1 1 of the issuer's key", ["2 1 1", "issuer"], ["leaf", "issuer"]),
  anchors("2 0 2 of the root, all sent", ["2 0 2", "root"], ["leaf", "issuer", "root"]),
  anchors("2 0 1 of the root, the chain sent out of order", ["2 0 1", "root"], ["leaf", "root", "issuer"]),
  anchors("2 0 0 of the issuer, which is only in DNS", ["2 0 0", "issuer"], ["leaf"], "RFC 7671 §5.2.2"),
  anchors("2 1 0 of the issuer's key, which is only in DNS", ["2 1 0", "issuer"], ["leaf"], "RFC 7671 §5.2.3"),
  chain({
    name: "2 0 1 of an issuer that is not sent",
    section: "RFC 7671 §5.2.2",
    must: untrusted,
    control: ["it is sent", authenticated],
    told: [toldNoAnchor, toldGood],
    make: (_site, faulty) => ({ sent: faulty ? ["leaf"] : ["leaf", "issuer"], records: [["2 0 1", "issuer"]] }),
  }),
  chain({
    name: "2 0 1 of a root that is not sent",
    section: "RFC 7671 §5.2.2",
    must: untrusted,
    control: ["it is sent", authenticated],
    told: [toldNoAnchor, toldGood],
    make: (_site, faulty) => ({ sent: faulty ? ["leaf", "issuer"] : ["leaf", "issuer", "root"], records: [["2 0 1", "root"]] }),
  }),
  chain({
    name: "3 1 1 of the issuer's key",
    section: "RFC 7672 §3.1.1",
    must: noMatch,
    control: ["of the leaf's key", authenticated],
    told: [toldNoMatch, toldGood],
    make: (_site, faulty) => ({ sent: ["leaf", "issuer"], records: [["3 1 1", faulty ? "issuer" : "leaf"]] }),
  }),
  chain({
    name: "2 0 1 and a certificate for another name",
    section: "RFC 7672 §3.2.2",
    must: deferred("certificate-host-mismatch"),
    control: ["for the host", authenticated],
    told: [toldOtherName, toldGood],
    make: (_site, faulty) => ({ sent: ["leaf", "issuer"], records: [["2 0 1", "issuer"]], ...(faulty && { names: ["other.test"] }) }),
  }),
  chain({
    name: "2 0 1 and an expired certificate",
    section: "RFC 7672 §3.1.2",
    must: deferred("certificate-expired"),
    control: ["a current one", authenticated],
    told: [toldExpired, toldGood],
    make: (_site, faulty) => ({ sent: ["leaf", "issuer"], records: [["2 0 1", "issuer"]], ...(faulty && { dates: old }) }),
  }),
  chain({
    name: "2 0 1 and an anchor that has ended",
    section: "RFC 7671 §5.2",
    must: deferred("certificate-expired"),
    control: ["a current one", authenticated],
    told: [toldExpired, toldGood],
    make: (_site, faulty) => ({
      sent: ["leaf", "issuer", "root"],
      records: [["2 0 1", "root"]],
      ...(faulty && { rootDates: { to: inDays(-1) } }),
    }),
  }),
  chain({
    name: "2 0 1 of the issuer, whose own root has ended",
    section: "RFC 7672 §3.1.2",
    must: authenticated,
    control: ["2 0 1 of that root", deferred("certificate-expired")],
    told: [toldGood, toldExpired],
    make: (_site, faulty) => ({
      sent: ["leaf", "issuer", "root"],
      records: [["2 0 1", faulty ? "issuer" : "root"]],
      rootDates: { to: inDays(-1) },
    }),
  }),
  chain({
    name: "the recipient's domain in the certificate, below a signed MX",
    section: "RFC 7672 §3.2.2",
    must: authenticated,
    control: ["a third name", deferred("certificate-host-mismatch")],
    told: [toldGood, toldOtherName],
    make: (site, faulty) => ({ sent: ["leaf", "issuer"], records: [["2 0 1", "issuer"]], names: [faulty ? site.domain : "third.test"] }),
  }),
  chain({
    name: "3 1 1 with wrong name, expired, and 2 0 1 that does not match: one is enough",
    section: "RFC 7671 §8",
    must: authenticated,
    control: ["3 1 1 does not match either", noMatch],
    told: [toldGood, toldNoMatch],
    make: (_site, faulty) => ({
      sent: ["leaf", "issuer"],
      records: [
        ["3 1 1", faulty ? "leaf" : "root"],
        ["2 0 1", "root"],
      ],
      names: ["other.test"],
      dates: old,
    }),
  }),
  {
    name: "the recipient's domain in the certificate, below an unsigned MX",
    section: "RFC 7672 §3.2.2",
    relay: "open",
    async set(site, faulty) {
      site.use(faulty ? "plain" : "signed");
      const made = await pki([site.domain]);
      const host = site.mx("mx", { in: "signed", certificate: { ...made.issued, certificate: made.leaf + made.issuer } });
      site.tlsa(host, "2 0 1", made.issuer);
    },
    must: deferred("certificate-host-mismatch"),
    control: ["below a signed MX", authenticated],
    told: [toldOtherName, toldGood],
  },
  {
    name: "a signed alias of a domain: its target may be the name in the certificate",
    section: "RFC 7672 §3.2.2",
    relay: "open",
    async set(site, faulty) {
      site.use("signed");
      const target = site.domain;
      const made = await pki([faulty ? target : "third.test"]);
      const host = site.mx("mx", { certificate: { ...made.issued, certificate: made.leaf + made.issuer } });
      site.tlsa(host, "2 0 1", made.issuer);
      const alias = site.name("alias");
      site.record(alias, "CNAME", `${target}.`);
      site.setDomain(alias);
    },
    must: authenticated,
    control: ["a third name", deferred("certificate-host-mismatch")],
    told: [toldGood, toldOtherName],
  },
  {
    name: "usage 2 and a common name, with no DNS name at all",
    section: "RFC 7672 §3.2.3",
    relay: "open",
    async set(site, faulty) {
      site.use("signed");
      const root = await createTestCa({ name: "DANE root" });
      const issued = await root.issue({ names: faulty ? [] : ["other.test"], commonName: site.name("mx") });
      const host = site.mx("mx", { certificate: { ...issued, certificate: issued.certificate + root.pem } });
      site.tlsa(host, "2 0 1", root.pem);
    },
    must: authenticated,
    control: ["with another DNS name", deferred("certificate-host-mismatch")],
    told: [toldGood, toldOtherName],
  },
  {
    name: "a chain through a certificate that is no CA leads nowhere",
    section: "RFC 7672 §3.1.2",
    relay: "open",
    async set(site, faulty) {
      site.use("signed");
      const root = await createTestCa({ name: "DANE root" });
      const middle = await root.issue({ names: ["middle.test"] });
      const issued = faulty ? await issueBelow(middle, { names: [site.name("mx")] }) : await root.issue({ names: [site.name("mx")] });
      const host = site.mx("mx", { certificate: { ...issued, certificate: issued.certificate + root.pem } });
      site.tlsa(host, "2 0 1", root.pem);
    },
    must: deferred("certificate-not-trusted"),
    control: ["issued by the CA itself", authenticated],
    told: ["tlsa of mx failed certificate-not-trusted/*", toldGood],
  },
  {
    name: "the anchor appended to somebody else's chain proves nothing",
    section: "RFC 7672 §3.1.2",
    relay: "open",
    async set(site, faulty) {
      site.use("signed");
      const root = await createTestCa({ name: "DANE root" });
      const issued = await (faulty ? site.io.certificates.stranger : root).issue({ names: [site.name("mx")] });
      const host = site.mx("mx", { certificate: { ...issued, certificate: issued.certificate + root.pem } });
      site.tlsa(host, "2 0 1", root.pem);
    },
    must: deferred("certificate-not-trusted"),
    control: ["the chain is the anchor's own", authenticated],
    told: [toldNoAnchor, toldGood],
  },
  {
    name: "3 0 1 of the certificate before its renewal",
    section: "RFC 6698 §2.1.2",
    relay: "open",
    async set(site, faulty) {
      site.use("signed");
      const before = await site.issue({ names: [site.name("mx")], to: inDays(10) });
      const { good } = site.io.certificates;
      const host = site.mx();
      site.tlsa(host, "3 0 1", faulty ? before.certificate : good.certificate);
    },
    must: noMatch,
    control: ["of the renewed one", authenticated],
    told: [toldNoMatch, toldGood],
  },
];

/** Table F: the server's key matches one kind of record, and it depends on the others whether that counts. */
function agility(
  name: string,
  must: Expected,
  records: (right: (p: TlsaParameters) => string) => string[],
  relay: "open" | "sha256First" = "open",
): Scenario {
  const counts = must.kind === "delivered";
  return {
    name: `digest agility: ${name}`,
    section: "RFC 7671 §9",
    relay,
    set(site, faulty) {
      const { dane } = site.io.certificates;
      const host = site.use("signed").mx("mx", { certificate: dane });
      const right = (parameters: TlsaParameters) => tlsaFor(parameters, dane.certificate);
      const control = counts ? [`3 1 2 ${hex(64)}`] : [right("3 1 2")];
      for (const record of faulty ? records(right) : control) site.tlsa(host, record);
    },
    must,
    control: counts ? ["a digest of another key", noMatch] : ["the strong digest is right", authenticated],
    told: counts ? [toldGood, toldNoMatch] : [toldNoMatch, toldGood],
  };
}

const agilities: Scenario[] = [
  agility("the full record counts beside two digests", authenticated, (right) => [`3 1 1 ${hex(32)}`, `3 1 2 ${hex(64)}`, right("3 1 0")]),
  agility("SHA-256 right beside a wrong SHA-512 does not count", noMatch, (right) => [right("3 1 1"), `3 1 2 ${hex(64)}`]),
  agility("the other selector is another matter", authenticated, (right) => [right("3 1 1"), `3 0 2 ${hex(64)}`]),
  agility("the other usage is another matter", authenticated, (right) => [right("3 1 1"), `2 1 2 ${hex(64)}`]),
  agility("a malformed SHA-512 does not shut out SHA-256", authenticated, (right) => [right("3 1 1"), `3 1 2 ${hex(20)}`]),
  agility("an unknown digest does not shut out SHA-256", authenticated, (right) => [right("3 1 1"), `3 1 3 ${hex(48)}`]),
  agility("the operator's order decides", authenticated, (right) => [right("3 1 1"), `3 1 2 ${hex(64)}`], "sha256First"),
];

export const dane: ScenarioGroup = { subject: "DANE hosts and chains", scenarios: [...hosts, ...chains, ...agilities] };
export const tlsaRecords: ScenarioGroup = { subject: "TLSA candidates and usability", scenarios: [...candidates, ...usabilities] };
