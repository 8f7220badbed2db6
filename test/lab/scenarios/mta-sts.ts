/**
 * MTA-STS (RFC 8461) end to end: which policy is found, which host it allows, what it demands of TLS. The floor is
 * opportunistic, so that nothing but the policy can hold a message back.
 */
import type { CertificateWishes } from "../../support/certificates.ts";
import { type Channel, deferred, delivered, type Expected, type Scenario, type ScenarioGroup } from "../scenario.ts";
import type { Site, StsOptions } from "../site.ts";
import { FIXED } from "../world/addresses.ts";
import { DANE_ONLY, inDays } from "../world/certificates.ts";
import type { ReceiverBehaviour } from "../world/receivers.ts";

const unlisted = deferred("validation-failure", /mx-not-in-policy/);
const toldUnlisted = "sts failed validation-failure/mx-not-in-policy";
const toldBare = "sts failed starttls-not-supported";
const toldNoPolicy = "no-policy-found failed starttls-not-supported";

/** The pattern made from the host's name, and whether it covers it. */
function pattern(name: string, covered: boolean, patterns: (host: string) => string[], label = "mx"): Scenario {
  const other = (host: string): string[] => (covered ? [`other.${host}`] : [host]);
  return {
    name: `the pattern ${name} ${covered ? "covers" : "leaves out"} the MX host`,
    section: "RFC 8461 §4.1",
    relay: "open",
    async set(site, faulty) {
      site.use("plain");
      const host = label === "mx" ? undefined : `a.${site.name("mx")}`;
      const mx = site.mx("mx", host === undefined ? {} : { name: host, certificate: await site.issue({ names: [host] }) });
      site.sts({ mx: faulty ? patterns(mx.name) : other(mx.name) });
      if (faulty && !covered) site.neverConnected(mx);
    },
    must: covered ? delivered("authenticated") : unlisted,
    control: covered ? ["another name is listed", unlisted] : ["the name itself is listed", delivered("authenticated")],
    told: covered ? ["sts ok", toldUnlisted] : [toldUnlisted, "sts ok"],
  };
}

const parent = (host: string) => host.slice(host.indexOf(".") + 1);

const patterns: Scenario[] = [
  pattern("of the very name", true, (host) => [host]),
  pattern("in capitals", true, (host) => [host.toUpperCase()]),
  pattern("*.parent", true, (host) => [`*.${parent(host)}`]),
  pattern("that comes second", true, (host) => ["mx.nowhere.test", host]),
  pattern("of the parent", false, (host) => [parent(host)]),
  pattern("*.host itself", false, (host) => [`*.${host}`]),
  pattern("*.grandparent", false, (host) => [`*.${parent(parent(host))}`], "deep"),
  pattern("of a name that only ends alike", false, (host) => [host.slice(1)]),
  {
    name: "the target of an aliased MX name is not the MX name",
    section: "RFC 8461 §4.1",
    relay: "open",
    set(site, faulty) {
      site.use("plain");
      const target = site.host("target");
      site.record(site.domain, "MX", `10 ${site.name("mx")}.`);
      site.record(site.name("mx"), "CNAME", `${target.name}.`);
      site.sts({ mx: [faulty ? target.name : site.name("mx")] });
      if (faulty) site.neverConnected(target);
    },
    must: unlisted,
    control: ["the MX name is listed", delivered("authenticated", "target")],
    told: [toldUnlisted, "sts ok"],
  },
];

/** RFC 8461 §4.2: one certificate in place of the good one. */
function certificate(
  name: string,
  expected: Expected,
  fault: string,
  wishes: (host: string) => CertificateWishes,
  from: "ca" | "stranger" = "ca",
): Scenario {
  return {
    name: `enforce and ${name}`,
    section: "RFC 8461 §4.2",
    relay: "open",
    async set(site, faulty) {
      site.use("plain");
      const host = site.name("mx");
      const issued = await site.issue(wishes(host), site.io.certificates[from]);
      site.mx("mx", faulty ? { certificate: issued, tls: { ciphers: "DEFAULT@SECLEVEL=0" } } : {});
      site.sts();
    },
    must: expected,
    control: ["a good certificate", delivered("authenticated")],
    told: [`sts failed ${fault}`, "sts ok"],
  };
}

const mismatch = deferred("certificate-host-mismatch");
const anotherName = "certificate-host-mismatch";
/** What OpenSSL says of a leaf that comes alone. */
const unknownIssuer = "certificate-not-trusted/unable-to-verify-the-first-certificate";
const certificates: Scenario[] = [
  certificate("a wildcard two labels up", mismatch, anotherName, () => ({ names: ["*.test"] })),
  certificate("a wildcard that is part of a label", mismatch, anotherName, (host) => ({ names: [`m*${host.slice(host.indexOf("."))}`] })),
  certificate("a certificate for the policy domain only", mismatch, anotherName, (host) => ({ names: [parent(host)] })),
  certificate("the name in the common name only", mismatch, anotherName, (host) => ({ names: [], commonName: host })),
  certificate("the common name right, the DNS name another", mismatch, anotherName, (host) => ({
    names: ["other.test"],
    commonName: host,
  })),
  certificate("an IP address for a name", mismatch, anotherName, () => ({ names: ["44.53.0.1"], commonName: "address" })),
  certificate("an expired certificate", deferred("certificate-expired", /ended/), "certificate-expired", (host) => ({
    names: [host],
    from: inDays(-60),
    to: inDays(-1),
  })),
  certificate(
    "a certificate of tomorrow",
    deferred("validation-failure", /not-yet-valid/),
    "validation-failure/certificate-not-yet-valid",
    (host) => ({
      names: [host],
      from: inDays(2),
      to: inDays(60),
    }),
  ),
  certificate(
    "a self-signed certificate",
    deferred("certificate-not-trusted"),
    "certificate-not-trusted/self-signed-certificate",
    (host) => ({ names: [host], selfSigned: true }),
  ),
  certificate("a CA that nobody trusts", deferred("certificate-not-trusted"), unknownIssuer, (host) => ({ names: [host] }), "stranger"),
  certificate("an RSA key of 1024 bits", deferred("certificate-not-trusted", /1024/), "certificate-not-trusted/weak-key", (host) => ({
    names: [host],
    key: "rsa-1024",
  })),
  {
    name: "enforce and an intermediate certificate that is not sent",
    section: "RFC 8461 §4.2",
    relay: "open",
    async set(site, faulty) {
      site.use("plain");
      const sub = await site.io.certificates.ca.subordinate({ name: "Lab Sub" });
      const whole = await sub.issue({ names: [site.name("mx")] });
      const leaf = `${whole.certificate.split("-----END CERTIFICATE-----")[0]}-----END CERTIFICATE-----\n`;
      site.mx("mx", { certificate: faulty ? { ...whole, certificate: leaf } : whole });
      site.sts();
    },
    must: deferred("certificate-not-trusted"),
    control: ["it is sent", delivered("authenticated")],
    told: [`sts failed ${unknownIssuer}`, "sts ok"],
  },
  {
    name: "the certificate of an alias's target does not count",
    section: "RFC 8461 §4.2",
    relay: "open",
    async set(site, faulty) {
      site.use("plain");
      const [alias, target] = [site.name("mx"), site.name("target")];
      const issued = await site.issue({ names: [faulty ? target : alias] });
      const host = site.host("target", { certificate: issued });
      site.record(site.domain, "MX", `10 ${alias}.`);
      site.record(alias, "CNAME", `${target}.`);
      site.sts({ mx: [alias] });
      site.serverName(host, alias);
    },
    must: mismatch,
    control: ["it is for the MX name", delivered("authenticated", "target")],
    told: [`sts failed ${anotherName}`, "sts ok"],
  },
];

/** Mode and check, one host (RFC 8461 §5); the control is the policy in enforce. */
function testing(
  name: string,
  channel: Channel,
  enforced: Expected,
  fault: string,
  host: (site: Site) => ReceiverBehaviour,
  mx?: readonly string[],
): Scenario {
  return {
    name: `testing: ${name} is delivered to all the same`,
    section: "RFC 8461 §5",
    relay: "open",
    set(site, faulty) {
      site.use("plain");
      site.mx("mx", host(site));
      site.sts({ mode: faulty ? "testing" : "enforce", ...(mx !== undefined && { mx }) });
      if (faulty)
        site.claim("what would have failed is kept", ({ story }) => story.includes("wouldHaveFailed") || story.includes("watched"));
    },
    must: delivered(channel),
    control: ["the same under enforce", enforced],
    told: [`sts failed ${fault}`, `sts failed ${fault}`],
  };
}

const modes: Scenario[] = [
  testing("a host that is not listed", "authenticated", unlisted, "validation-failure/mx-not-in-policy", () => ({}), ["mx.nowhere.test"]),
  testing("a host without STARTTLS", "clear", deferred("starttls-not-supported"), "starttls-not-supported", () => ({
    startTlsKeyword: "",
  })),
  testing("an untrusted certificate", "encrypted", deferred("certificate-expired"), DANE_ONLY, ({ io }) => ({
    certificate: { ...io.certificates.dane },
  })),
  testing("454 to STARTTLS", "clear", deferred("starttls-not-supported"), "starttls-not-supported/454", () => ({
    answer: (heard) => (heard === "STARTTLS" ? "454 4.7.0 not now\r\n" : undefined),
  })),
  testing("a handshake that fails", "clear", deferred("validation-failure"), "validation-failure/handshake-reset", () => ({
    afterStartTls: (socket) => socket.once("data", () => socket.end()),
  })),
  {
    name: "none asks for nothing",
    section: "RFC 8461 §5",
    relay: "open",
    set(site, faulty) {
      site.use("plain").mx("mx", { startTlsKeyword: "" });
      site.sts({ mode: faulty ? "none" : "enforce" });
    },
    must: delivered("clear"),
    control: ["the same under enforce", deferred("starttls-not-supported")],
    told: [toldNoPolicy, toldBare],
  },
  {
    name: "enforce and 454 to STARTTLS is no verdict on the message",
    section: "RFC 8461 §5",
    relay: "open",
    set(site, faulty) {
      site.use("plain").mx("mx", faulty ? { answer: (heard) => (heard === "STARTTLS" ? "454 4.7.0 not now\r\n" : undefined) } : {});
      site.sts();
    },
    must: deferred("starttls-not-supported", /454/),
    control: ["220", delivered("authenticated")],
    told: ["sts failed starttls-not-supported/454", "sts ok"],
  },
  {
    name: "enforce and a host that answers MAIL with 550 rather than speak TLS",
    section: "RFC 8461 §5",
    relay: "open",
    set(site, faulty) {
      site
        .use("plain")
        .mx("mx", faulty ? { startTlsKeyword: "", answer: (heard) => (heard.startsWith("MAIL") ? "550 no\r\n" : undefined) } : {});
      site.sts();
    },
    must: deferred("starttls-not-supported"),
    control: ["it speaks TLS", delivered("authenticated")],
    told: [toldBare, "sts ok"],
  },
  {
    name: "a host that is not listed is passed over, the listed one behind it gets the mail",
    section: "RFC 8461 §5.1",
    relay: "open",
    set(site, faulty) {
      site.use("plain");
      const first = site.mx("mx1", { preference: 10 });
      const second = site.mx("mx2", { preference: 20 });
      site.sts({ mx: faulty ? [second.name] : [first.name, second.name] });
      if (faulty) site.neverConnected(first);
    },
    must: delivered("authenticated", "mx2"),
    control: ["both are listed", delivered("authenticated", "mx1")],
    told: ["sts ok, failed validation-failure/mx-not-in-policy", "sts ok"],
  },
  {
    name: "the order of hosts is not changed in favour of those that pass",
    section: "RFC 8461 §8.4",
    relay: "open",
    set(site, faulty) {
      site.use("plain");
      site.mx("mx1", { preference: 10, ...(faulty && { startTlsKeyword: "" }) });
      site.mx("mx2", { preference: 20 });
      site.sts();
    },
    must: delivered("authenticated", "mx2"),
    control: ["the first one offers STARTTLS", delivered("authenticated", "mx1")],
    told: ["sts ok, failed starttls-not-supported", "sts ok"],
  },
  {
    name: "of three hosts two are not listed: the third gets the mail, and both are told of",
    section: "RFC 8460 §4.2",
    relay: "open",
    set(site, faulty) {
      site.use("plain");
      const [first, second] = [site.mx("mx1", { preference: 10 }), site.mx("mx2", { preference: 20 })];
      const third = site.mx("mx3", { preference: 30 });
      site.sts({ mx: faulty ? [third.name] : [first.name, second.name, third.name] });
      if (faulty) for (const host of [first, second]) site.neverConnected(host);
    },
    must: delivered("authenticated", "mx3"),
    control: ["all are listed", delivered("authenticated", "mx1")],
    told: ["sts ok, failed 2 validation-failure/mx-not-in-policy, validation-failure/mx-not-in-policy", "sts ok"],
  },
];

/** Of a policy that is none, its own lines are told of; of one that could not be had, there are none (table A). */
function toldWithout(fault: string | undefined): string {
  if (fault === undefined) return toldNoPolicy;
  return `${fault.startsWith("sts-policy-invalid") ? "sts" : "no-policy-found"} failed starttls-not-supported, ${fault}`;
}

/** A host that offers no STARTTLS: mail arrives there exactly if no policy is in force. */
function withoutPolicy(
  name: string,
  section: string,
  faulty: StsOptions | ((site: Site) => StsOptions | Promise<StsOptions>),
  fetches?: number,
  fault?: string,
): Scenario {
  return {
    name: `${name}: as though there were no policy`,
    section,
    relay: "open",
    async set(site, isFaulty) {
      site.use("plain").mx("mx", { startTlsKeyword: "" });
      const options = typeof faulty === "function" ? await faulty(site) : faulty;
      site.sts(isFaulty ? options : {});
      if (isFaulty && fetches !== undefined) site.fetches(fetches);
    },
    must: delivered("clear"),
    control: ["a sound policy", deferred("starttls-not-supported")],
    told: [toldWithout(fault), toldBare],
  };
}

const file = (lines: string) => `version: STSv1\nmode: enforce\nmx: *.plain.test\nmax_age: 604800\n${lines}`;

const noRecord: Scenario[] = [
  withoutPolicy("no TXT record", "RFC 8461 §3.1", { txt: [] }, 0),
  withoutPolicy("two records", "RFC 8461 §3.1", { txt: ["v=STSv1; id=1;", "v=STSv1; id=2;"] }, 0),
  withoutPolicy("an id with a hyphen", "RFC 8461 §3.1", { txt: ["v=STSv1; id=2026-11-24;"] }, 0),
  withoutPolicy("no id", "RFC 8461 §3.1", { txt: ["v=STSv1;"] }, 0),
  withoutPolicy("the version in small letters", "RFC 8461 §3.1", { txt: ["v=stsv1; id=1;"] }, 0),
  withoutPolicy("the version not first", "RFC 8461 §3.1", { txt: ["id=1; v=STSv1;"] }, 0),
  withoutPolicy("blanks around the equals sign", "RFC 8461 §3.1", { txt: ["v=STSv1; id = 1;"] }, 0),
  {
    name: "TXT fails at the name server and nothing is kept: as though there were no policy",
    section: "RFC 8461 §3.1",
    relay: "open",
    set(site, faulty) {
      site.use("meddledPlain").mx("mx", { startTlsKeyword: "" });
      site.sts();
      if (!faulty) return;
      site.meddle(`_mta-sts.${site.domain}`, "TXT", "servfail");
      site.fetches(0);
    },
    must: delivered("clear"),
    control: ["TXT is answered", deferred("starttls-not-supported")],
    told: [toldNoPolicy, toldBare],
  },
];

const noFetch: Scenario[] = [
  withoutPolicy("status 404", "RFC 8461 §3.3", { status: 404 }, 1, "sts-policy-fetch-error/http-404"),
  withoutPolicy("status 500", "RFC 8461 §3.3", { status: 500 }, 1, "sts-policy-fetch-error/http-500"),
  withoutPolicy("status 201", "RFC 8461 §3.3", { status: 201 }, 1, "sts-policy-fetch-error/http-201"),
  withoutPolicy(
    "a redirect",
    "RFC 8461 §3.3",
    (site) => ({
      serve(request, response) {
        if (request.url === "/elsewhere") response.writeHead(200, { "Content-Type": "text/plain" }).end(file(""));
        else response.writeHead(301, { Location: `https://mta-sts.${site.domain}/elsewhere` }).end();
      },
    }),
    1,
    "sts-policy-fetch-error/redirect",
  ),
  withoutPolicy("text/html", "RFC 8461 §3.2", { type: "text/html" }, 1, "sts-policy-fetch-error/media-type"),
  withoutPolicy("no media type", "RFC 8461 §3.2", { type: "" }, 1, "sts-policy-fetch-error/media-type"),
  withoutPolicy(
    "a body of more than 64 KiB",
    "RFC 8461 §3.3",
    { text: file(`x: ${"y".repeat(66_000)}\n`) },
    1,
    "sts-policy-fetch-error/too-large",
  ),
  withoutPolicy(
    "a body that never ends",
    "RFC 8461 §3.3",
    {
      serve(_request, response) {
        response.writeHead(200, { "Content-Type": "text/plain" });
        response.write("version: STSv1\n");
        const timer = setInterval(() => response.write("x"), 200);
        response.on("close", () => clearInterval(timer));
      },
    },
    1,
    "sts-policy-fetch-error/timeout",
  ),
  withoutPolicy(
    "a compressed body",
    "RFC 8461 §3.3",
    { headers: { "Content-Encoding": "gzip" } },
    1,
    "sts-policy-fetch-error/content-encoding",
  ),
  withoutPolicy(
    "a host that takes connections and is silent",
    "RFC 8461 §3.3",
    { address: FIXED.silentPolicyHost },
    0,
    "sts-policy-fetch-error/timeout",
  ),
  withoutPolicy("a host where nothing listens", "RFC 8461 §3.3", { address: FIXED.nobody }, 0, "sts-policy-fetch-error/connection-refused"),
  withoutPolicy("a host on the loopback interface", "RFC 8461 §3.3", { address: "127.0.0.1" }, 0, "sts-policy-fetch-error/*"),
  withoutPolicy("a host on a private network", "RFC 8461 §3.3", { address: "10.0.0.1" }, 0, "sts-policy-fetch-error/*"),
  withoutPolicy("TLS 1.1 only", "RFC 8461 §7.2", { address: FIXED.oldPolicyHosts }, 0, "sts-policy-fetch-error/unsupported-protocol"),
  withoutPolicy(
    "an expired certificate",
    "RFC 8461 §3.3",
    async (site) => ({
      certificate: await site.issue({ names: [`mta-sts.${site.domain}`], from: inDays(-60), to: inDays(-1) }),
    }),
    0,
    "sts-webpki-invalid/certificate-has-expired",
  ),
  withoutPolicy(
    "a certificate for the domain only",
    "RFC 8461 §3.3",
    async (site) => ({ certificate: await site.issue({ names: [site.domain] }) }),
    0,
    "sts-webpki-invalid/*",
  ),
  withoutPolicy(
    "the name in the common name only",
    "RFC 8461 §3.3",
    async (site) => ({
      certificate: await site.issue({ names: [], commonName: `mta-sts.${site.domain}`.slice(0, 64) }),
    }),
    0,
    "sts-webpki-invalid/*",
  ),
  withoutPolicy(
    "a wildcard that is part of a label",
    "RFC 8461 §3.3",
    async (site) => ({
      certificate: await site.issue({ names: [`mta-*.${site.domain}`] }),
    }),
    0,
    "sts-webpki-invalid/*",
  ),
  withoutPolicy(
    "a self-signed certificate",
    "RFC 8461 §3.3",
    async (site) => ({
      certificate: await site.issue({ names: [`mta-sts.${site.domain}`], selfSigned: true }),
    }),
    0,
    "sts-webpki-invalid/self-signed-certificate",
  ),
  withoutPolicy(
    "an alias to a provider whose certificate is for its own name",
    "RFC 8461 §8.2",
    async (site) => {
      const provider = `provider-${site.domain}`;
      site.record(provider, "A", FIXED.policyHosts);
      return { alias: `${provider}.`, certificate: await site.issue({ names: [provider] }) };
    },
    0,
    "sts-webpki-invalid/*",
  ),
];

const badFiles: Scenario[] = (
  [
    ["a policy without mode", "mode", "version: STSv1\nmx: *.plain.test\nmax_age: 604800\n"],
    ["a policy without version", "version", "mode: enforce\nmx: *.plain.test\nmax_age: 604800\n"],
    ["a policy without max_age", "max_age", "version: STSv1\nmode: enforce\nmx: *.plain.test\n"],
    ["max_age with a unit", "max_age", "version: STSv1\nmode: enforce\nmx: *.plain.test\nmax_age: 7d\n"],
    ["an unknown mode", "mode", "version: STSv1\nmode: report\nmx: *.plain.test\nmax_age: 604800\n"],
    ["enforce without mx", "mx", "version: STSv1\nmode: enforce\nmax_age: 604800\n"],
    ["Mode with a capital", "mode", "version: STSv1\nMode: enforce\nmx: *.plain.test\nmax_age: 604800\n"],
    ["one mx line with two names", "mx", "version: STSv1\nmode: enforce\nmx: *.plain.test, b.test\nmax_age: 604800\n"],
    ["a byte order mark", "*", "\ufeffversion: STSv1\nmode: enforce\nmx: *.plain.test\nmax_age: 604800\n"],
    ["an HTML page as text/plain", "*", "<html><body>version: STSv1</body></html>\n"],
  ] as const
).map(([name, field, text]) => withoutPolicy(name, "RFC 8461 §3.2", { text }, 1, `sts-policy-invalid/${field}`));

/** The policy counts, which the lack of STARTTLS shows; the control has none. */
function counts(name: string, section: string, options: StsOptions | ((site: Site) => StsOptions | Promise<StsOptions>)): Scenario {
  return {
    name: `${name}: the policy counts`,
    section,
    relay: "open",
    async set(site, faulty) {
      site.use("plain").mx("mx", { startTlsKeyword: "" });
      if (faulty) site.sts(typeof options === "function" ? await options(site) : options);
      if (faulty) site.fetches(1);
    },
    must: deferred("starttls-not-supported"),
    control: ["no policy at all", delivered("clear")],
    told: [toldBare, toldNoPolicy],
  };
}

const sound: Scenario[] = [
  counts("another TXT record beside it", "RFC 8461 §3.1", { txt: ["v=STSv1; id=1;", "google-site-verification=x"] }),
  counts("a record in two strings", "RFC 8461 §3.1", { txt: ['v=STSv1; id=2026" "1124;'] }),
  counts("unknown fields in the record", "RFC 8461 §3.1", { txt: ["v=STSv1; foo=bar; id=1; x.y-z_1=ok"] }),
  counts("no blank behind the semicolon", "RFC 8461 §3.1", { txt: ["v=STSv1;id=1"] }),
  counts("Text/Plain with a charset", "RFC 8461 §3.2", { type: "Text/Plain; charset=UTF-8" }),
  counts("CRLF line ends", "RFC 8461 §3.2", { text: file("").replaceAll("\n", "\r\n") }),
  counts("no line end at the end, unknown fields, blank lines", "RFC 8461 §3.2", {
    text: file("x-note: grüße\n\n\nversion: STSv1").trimEnd(),
  }),
  counts("max_age beyond the maximum", "RFC 8461 §3.2", { maxAge: 9_999_999_999 }),
  counts("max_age 0, for this one attempt", "RFC 8461 §3.2", { maxAge: 0 }),
  counts("a repeated mode, the first of which counts", "RFC 8461 §3.2", { text: file("mode: none\n") }),
  counts("Cache-Control, which counts for nothing", "RFC 8461 §3.3", { headers: { "Cache-Control": "no-store, max-age=0" } }),
  counts("a wildcard certificate at the policy host", "RFC 8461 §3.3", async (site) => ({
    certificate: await site.issue({ names: [`*.${site.domain}`] }),
  })),
  counts("a policy host by alias, with a certificate for the domain's own name", "RFC 8461 §8.2", (site) => {
    site.record(`provider-${site.domain}`, "A", FIXED.policyHosts);
    return { alias: `provider-${site.domain}.` };
  }),
  {
    name: "a TXT record by alias gives the provider's id, and the URL stays the domain's",
    section: "RFC 8461 §8.2",
    relay: "open",
    set(site, faulty) {
      site.use("plain").mx("mx", { startTlsKeyword: "" });
      if (!faulty) return;
      const host = site.sts({ txt: [] });
      const provider = `_mta-sts.provider-${site.domain}`;
      site.record(`_mta-sts.${site.domain}`, "CNAME", `${provider}.`);
      site.record(provider, "TXT", '"v=STSv1; id=7;"');
      site.claim("the request is for the domain's own host", () => host.requests[0]?.headers.host === `mta-sts.${site.domain}`);
    },
    must: deferred("starttls-not-supported"),
    control: ["no policy at all", delivered("clear")],
    told: [toldBare, toldNoPolicy],
  },
  {
    name: "the request is a plain GET of the well-known path",
    section: "RFC 8461 §3.2",
    relay: "open",
    set(site, faulty) {
      site.use("plain").mx();
      const host = site.sts(faulty ? {} : { mx: ["mx.nowhere.test"] });
      site.claim("GET, the path, no cookies, no conditions, identity", () =>
        host.requests.every(
          ({ method, url, headers }) =>
            method === "GET" &&
            url === "/.well-known/mta-sts.txt" &&
            headers["cookie"] === undefined &&
            headers["authorization"] === undefined &&
            headers["if-none-match"] === undefined &&
            (headers["accept-encoding"] ?? "identity") === "identity",
        ),
      );
      site.claim("SNI is the policy host", () => host.handshakes.length > 0 && host.handshakes.every((name) => name === host.name));
    },
    must: delivered("authenticated"),
    control: ["a policy that lists another host", unlisted],
    told: ["sts ok", toldUnlisted],
  },
];

export const mtaSts: ScenarioGroup = {
  subject: "MTA-STS",
  scenarios: [...patterns, ...certificates, ...modes, ...noRecord, ...noFetch, ...badFiles, ...sound],
};
