/** Both policies at one host: both must hold, and neither overrules the other (RFC 8461 §2, §5; RFC 7672 §2.2). */
import { deferred, delivered, type Expected, type Scenario, type ScenarioGroup } from "../scenario.ts";
import type { Told } from "../expected-reports.ts";
import type { Host, Site } from "../site.ts";
import { DANE_ONLY, tlsaFor } from "../world/certificates.ts";

const wrongKey = `3 1 1 ${"ab".repeat(32)}`;
const noMatch = deferred("validation-failure", /dane-no-match/);
const authenticated = delivered("authenticated");

/** DANE that holds, or does not, or cannot be had; and a certificate that MTA-STS likes, or not. */
type Dane = "matches" | "no match" | "unusable" | "none";

function set(site: Site, dane: Dane, certificate: "good" | "dane", mode: "enforce" | "testing" = "enforce"): Host {
  const shown = site.io.certificates[certificate];
  const host = site.mx("mx", { certificate: shown });
  if (dane === "matches") site.tlsa(host, tlsaFor("3 1 1", shown.certificate));
  if (dane === "no match") site.tlsa(host, wrongKey);
  if (dane === "unusable") site.tlsa(host, `1 1 1 ${"ab".repeat(32)}`);
  site.sts({ mode });
  return host;
}

type Row = [
  name: string,
  faulty: Parameters<typeof set> extends [Site, ...infer R] ? R : never,
  must: Expected,
  what: string,
  control: Parameters<typeof set> extends [Site, ...infer R] ? R : never,
  controlled: Expected,
  told: Told,
];

const bothHold = "tlsa of mx ok + sts ok";
const noRecordMatches = "tlsa of mx failed validation-failure/dane-no-match + sts ok";
const unusable = "tlsa of mx failed tlsa-invalid/unsupported-usage";

const rows: Row[] = [
  [
    "DANE holds, MTA-STS does not",
    ["matches", "dane"],
    deferred("certificate-expired"),
    "a certificate for both",
    ["matches", "good"],
    authenticated,
    [`tlsa of mx ok + sts failed ${DANE_ONLY}`, bothHold],
  ],
  [
    "MTA-STS holds, DANE does not",
    ["no match", "good"],
    noMatch,
    "the record matches",
    ["matches", "good"],
    authenticated,
    [noRecordMatches, bothHold],
  ],
  [
    "DANE is unusable, MTA-STS holds",
    ["unusable", "good"],
    authenticated,
    "it does not",
    ["unusable", "dane"],
    deferred("certificate-expired"),
    [`${unusable} + sts ok`, `${unusable} + sts failed ${DANE_ONLY}`],
  ],
  [
    "no DANE, MTA-STS does not hold",
    ["none", "dane"],
    deferred("certificate-expired"),
    "it holds",
    ["none", "good"],
    authenticated,
    [`sts failed ${DANE_ONLY}`, "sts ok"],
  ],
  [
    "DANE holds, MTA-STS in testing does not",
    ["matches", "dane", "testing"],
    authenticated,
    "in enforce",
    ["matches", "dane"],
    deferred("certificate-expired"),
    [`tlsa of mx ok + sts failed ${DANE_ONLY}`, `tlsa of mx ok + sts failed ${DANE_ONLY}`],
  ],
  [
    "MTA-STS in testing holds, DANE does not",
    ["no match", "good", "testing"],
    noMatch,
    "the record matches",
    ["matches", "good", "testing"],
    authenticated,
    [noRecordMatches, bothHold],
  ],
];

const table = rows.map(
  ([name, faulty, must, what, control, controlled, told]): Scenario => ({
    name,
    section: "RFC 8461 §2",
    relay: "open",
    set(site, isFaulty) {
      site.use("signed");
      set(site, ...(isFaulty ? faulty : control));
    },
    must,
    control: [what, controlled],
    told,
  }),
);

export const both: ScenarioGroup = {
  subject: "Both policies",
  scenarios: [
    ...table,
    {
      name: "DANE holds, and MTA-STS does not list the host",
      section: "RFC 8461 §5",
      relay: "open",
      set(site, faulty) {
        site.use("signed");
        const host = site.daneMx("mx", { certificate: site.io.certificates.good });
        site.tlsa(host, "3 1 1", site.io.certificates.good.certificate);
        site.sts({ mx: [faulty ? "mx.nowhere.test" : host.name] });
        if (faulty) site.neverConnected(host);
      },
      must: deferred("validation-failure", /mx-not-in-policy/),
      control: ["it lists it", authenticated],
      told: ["sts failed validation-failure/mx-not-in-policy", bothHold],
    },
    {
      name: "unusable records ask for TLS where MTA-STS in testing would do without",
      section: "RFC 7672 §2.2",
      relay: "open",
      set(site, faulty) {
        const host = site.use("signed").mx("mx", { startTlsKeyword: "" });
        if (faulty) site.tlsa(host, `1 1 1 ${"ab".repeat(32)}`);
        site.sts({ mode: "testing" });
      },
      must: deferred("starttls-not-supported"),
      control: ["no records", delivered("clear")],
      told: [
        "tlsa of mx failed starttls-not-supported, tlsa-invalid/unsupported-usage + sts failed starttls-not-supported",
        "sts failed starttls-not-supported",
      ],
    },
    {
      name: "DANE's base domain is the SNI, and MTA-STS still asks for the MX name",
      section: "RFC 7672 §8.1",
      relay: "open",
      async set(site, faulty) {
        site.use("signed");
        const [written, expanded] = [site.name("mx"), site.nameIn("other", "target")];
        const issued = await site.issue({ names: faulty ? [expanded] : [expanded, written] });
        const target = site.host("target", { in: "other", certificate: issued });
        site.record(site.domain, "MX", `10 ${written}.`);
        site.record(written, "CNAME", `${expanded}.`);
        site.tlsa(target, "3 1 1", issued.certificate);
        site.sts({ mx: [written] });
        site.serverName(target, expanded);
      },
      must: deferred("certificate-host-mismatch"),
      control: ["the certificate has both names", delivered("authenticated", "target")],
      told: ["tlsa of target ok + sts failed certificate-host-mismatch", "tlsa of target ok + sts ok"],
    },
  ],
};
