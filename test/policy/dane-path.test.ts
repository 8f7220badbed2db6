import { X509Certificate } from "node:crypto";
import { describe, expect, test, vi } from "vitest";
import { createDaneJudge } from "../../src/policy/dane-match.ts";
import type { TlsaRecord } from "../../src/policy/facts.ts";
import { createTestCa, issueBelow } from "../support/certificates.ts";
import { makeTempFolder } from "../support/temp.ts";
import { chainOf, daneRequirement, tlsaFor } from "../support/tlsa.ts";
import { createTwins, issueByTwin } from "../support/twins.ts";

const MX = "mx.example.test";
const DAY = 86_400_000;

/** `held`, or the failure and its sentence. */
async function judged(chain: readonly X509Certificate[], records: readonly TlsaRecord[]): Promise<string> {
  const verdict = await createDaneJudge()(chain, daneRequirement(records), Date.now());
  return verdict.held ? "held" : `${verdict.failure.type}: ${verdict.failure.detail}`;
}

const ca = (...extensions: string[]): { extensions: string } => ({
  extensions: ["keyUsage = critical, keyCertSign", "subjectKeyIdentifier = hash", ...extensions].join("\n"),
});
const CA_TRUE = "basicConstraints = critical, CA:TRUE";

const root = await createTestCa();
const stranger = await createTestCa({ name: "Stranger" });
const sameName = await createTestCa({ name: "Postern Test Root", key: "rsa-2048" });
const good = await root.issue({ names: [MX] });
/** A leaf whose extensions say nothing of signing: OpenSSL alone would take it for an issuer. */
const bare = await root.issue({ names: [MX], extensions: "basicConstraints = critical, CA:FALSE" });
const forged = await stranger.issue({ names: [MX] });
const forgedName = await sameName.issue({ names: [MX] });

describe("chains that an attacker would send (RFC 5280 §6.1)", () => {
  const anchor = tlsaFor(root.pem, "2 0 1");
  test("his own leaf with the real anchor appended", async () =>
    expect(await judged(chainOf(forged.certificate, root.pem), [anchor])).toMatch(/^certificate-not-trusted: no path/));
  test("his own leaf and CA with the real anchor appended", async () =>
    expect(await judged(chainOf(forged.certificate, stranger.pem, root.pem), [anchor])).toMatch(/^certificate-not-trusted: no path/));
  test("a CA of the anchor's name", async () =>
    expect(await judged(chainOf(forgedName.certificate, sameName.pem, root.pem), [anchor])).toMatch(/^certificate-not-trusted: no path/));
  test("a good leaf behind his own", async () =>
    expect(await judged(chainOf(forged.certificate, good.certificate, root.pem), [anchor])).toMatch(/^certificate-not-trusted/));
  test("his own leaf twice around a good one", async () =>
    expect(await judged(chainOf(forged.certificate, good.certificate, forged.certificate, root.pem), [anchor])).toMatch(
      /^certificate-not-trusted/,
    ));
  for (const numbers of ["2 0 1", "2 0 0", "2 1 0", "2 1 1"])
    test(`a leaf signed by a leaf, ${numbers}`, async () => {
      const below = await issueBelow(bare, { names: [MX] });
      expect(await judged(chainOf(below.certificate, root.pem), [tlsaFor(root.pem, numbers)])).toMatch(
        /^certificate-not-trusted: the CA certificate CN=mx.example.test may not sign others: it is not marked as a CA$/,
      );
    });
  test("an anchor that is no CA", async () => {
    const below = await issueBelow(bare, { names: [MX] });
    expect(await judged(chainOf(below.certificate), [tlsaFor(bare.certificate, "2 0 1")])).toMatch(/not marked as a CA$/);
  });
  test("a leaf signed by a leaf that may not sign", async () => {
    const below = await issueBelow(good, { names: [MX] });
    expect(await judged(chainOf(below.certificate, root.pem), [tlsaFor(root.pem, "2 0 1")])).toMatch(/^certificate-not-trusted: no path/);
  });
});

describe("chains as careless hosts send them", () => {
  test("shuffled, with others among them, and twice", async () => {
    const one = await root.subordinate({ name: "One" });
    const two = await one.subordinate({ name: "Two" });
    const leaf = chainOf((await two.issue({ names: [MX] })).certificate)[0];
    const chain = [
      ...(leaf === undefined ? [] : [leaf]),
      ...chainOf(root.pem, stranger.pem, one.own, one.own, two.own, forged.certificate),
    ];
    expect(await judged(chain, [tlsaFor(root.pem, "2 0 1")])).toBe("held");
    expect(await judged([...chain.slice(0, 1), ...chain], [tlsaFor(root.pem, "2 0 1")])).toBe("held");
  });

  test("an expired CA is named", async () => {
    const expired = await root.subordinate({ name: "Expired", from: new Date(Date.now() - 9 * DAY), to: new Date(Date.now() - DAY) });
    const leaf = await expired.issue({ names: [MX] });
    expect(await judged(chainOf(leaf.certificate, root.pem), [tlsaFor(root.pem, "2 0 1")])).toMatch(
      /^certificate-expired: the CA certificate CN=Expired ended/,
    );
  });

  test("a CA that is not valid yet is named", async () => {
    const young = await root.subordinate({ name: "Young", from: new Date(Date.now() + DAY) });
    const leaf = await young.issue({ names: [MX] });
    expect(await judged(chainOf(leaf.certificate, root.pem), [tlsaFor(root.pem, "2 0 1")])).toMatch(
      /^validation-failure: the CA certificate CN=Young is not valid before .*\(certificate-not-yet-valid\)/,
    );
  });

  test("a second certificate of the same CA is tried where the first is not good", async () => {
    await using folder = await makeTempFolder("twins");
    const [bad, better] = await createTwins(folder.path, ["basicConstraints = critical, CA:FALSE", CA_TRUE]);
    const leaf = await issueByTwin(folder.path, 1, [MX]);
    const anchor = tlsaFor(String(better), "2 1 1");
    expect(await judged([leaf, ...chainOf(String(bad), String(better))], [anchor])).toBe("held");
    expect(await judged([leaf, ...chainOf(String(bad))], [anchor])).toMatch(/not marked as a CA$/);
  });

  test("only the first ten certificates are looked at", async () => {
    const padding = await Promise.all(Array.from({ length: 9 }, (_, index) => createTestCa({ name: `Padding ${index}` })));
    const leaf = chainOf(good.certificate);
    const chain = [...leaf, ...chainOf(...padding.map(({ pem }) => pem), root.pem)];
    expect(chain).toHaveLength(11);
    expect(await judged(chain, [tlsaFor(root.pem, "2 0 1")])).toMatch(/^certificate-not-trusted/);
    expect(await judged([...leaf, ...chain.slice(2)], [tlsaFor(root.pem, "2 0 1")])).toBe("held");
  });
});

test("certificates that all issue each other cost a bounded number of signatures", async () => {
  await using folder = await makeTempFolder("swarm");
  const extensions = Array.from({ length: 10 }, () => CA_TRUE);
  const swarm = chainOf(...(await createTwins(folder.path, extensions)));
  const verify = vi.spyOn(X509Certificate.prototype, "verify");
  try {
    expect(await judged(swarm, [tlsaFor(root.pem, "2 0 1"), tlsaFor(root.pem, "2 0 0"), tlsaFor(root.pem, "2 1 0")])).toMatch(
      /^certificate-not-trusted: no path/,
    );
    expect(verify.mock.calls.length).toBeGreaterThan(9);
    expect(verify.mock.calls.length).toBeLessThanOrEqual(40);
  } finally {
    verify.mockRestore();
  }
});

describe("what a CA certificate allows below it (RFC 7671 §5.2.1, RFC 5280 §4.2.1)", () => {
  const cases: [what: string, anchor: { extensions: string }, between: number, names: string[], result: RegExp | "held"][] = [
    ["path length 0, leaf below", ca(`${CA_TRUE}, pathlen:0`), 0, [MX], "held"],
    ["path length 0, a CA below", ca(`${CA_TRUE}, pathlen:0`), 1, [MX], /allows 0 CA certificates below it, and there are 1$/],
    ["path length 1, a CA below", ca(`${CA_TRUE}, pathlen:1`), 1, [MX], "held"],
    ["path length 1, two CAs below", ca(`${CA_TRUE}, pathlen:1`), 2, [MX], /allows 1 CA certificates below it, and there are 2$/],
    ["a permitted DNS name", ca(CA_TRUE, "nameConstraints = critical, permitted;DNS:example.test"), 0, [MX], "held"],
    [
      "a DNS name not permitted",
      ca(CA_TRUE, "nameConstraints = critical, permitted;DNS:other.test"),
      0,
      [MX],
      /does not allow the name mx.example.test/,
    ],
    [
      "one name of two not permitted",
      ca(CA_TRUE, "nameConstraints = critical, permitted;DNS:example.test"),
      0,
      [MX, "mx.other.test"],
      /does not allow the name mx.other.test/,
    ],
    [
      "not permitted, with a CA between",
      ca(CA_TRUE, "nameConstraints = critical, permitted;DNS:other.test"),
      1,
      [MX],
      /does not allow the name/,
    ],
    [
      "a name that only ends alike",
      ca(CA_TRUE, "nameConstraints = critical, permitted;DNS:ample.test"),
      0,
      [MX],
      /does not allow the name/,
    ],
    ["an excluded DNS name", ca(CA_TRUE, "nameConstraints = critical, excluded;DNS:example.test"), 0, [MX], /does not allow the name/],
    [
      "a wildcard over an excluded name",
      ca(CA_TRUE, "nameConstraints = critical, excluded;DNS:mx.example.test"),
      0,
      ["*.example.test"],
      /does not allow the name/,
    ],
    ["another DNS name excluded", ca(CA_TRUE, "nameConstraints = critical, excluded;DNS:other.test"), 0, [MX], "held"],
    [
      "a common name not permitted",
      ca(CA_TRUE, "nameConstraints = critical, permitted;DNS:other.test"),
      0,
      [],
      /does not allow the name mx.example.test/,
    ],
    ["a permitted address", ca(CA_TRUE, "nameConstraints = critical, permitted;IP:192.0.2.0/255.255.255.0"), 0, [MX, "192.0.2.7"], "held"],
    [
      "an address not permitted",
      ca(CA_TRUE, "nameConstraints = critical, permitted;IP:192.0.2.0/255.255.255.0"),
      0,
      [MX, "198.51.100.7"],
      /does not allow its address/,
    ],
    [
      "a subject not permitted",
      ca(CA_TRUE, "nameConstraints = critical, permitted;dirName:tree\n[tree]\nCN = Someone"),
      0,
      [MX],
      /does not allow its subject/,
    ],
    ["a permitted subject", ca(CA_TRUE, `nameConstraints = critical, permitted;dirName:tree\n[tree]\nCN = ${MX}`), 0, [MX], "held"],
    [
      "an excluded subject",
      ca(CA_TRUE, `nameConstraints = critical, excluded;dirName:tree\n[tree]\nCN = ${MX}`),
      0,
      [MX],
      /does not allow its subject/,
    ],
    [
      "no leave to sign",
      { extensions: `${CA_TRUE}\nkeyUsage = critical, cRLSign\nsubjectKeyIdentifier = hash` },
      0,
      [MX],
      /no path|not marked/,
    ],
    ["basicConstraints without CA", ca("basicConstraints = critical, CA:FALSE"), 0, [MX], /not marked as a CA$/],
    ["no basicConstraints", ca(), 0, [MX], /not marked as a CA$/],
    ["purposes other than servers", ca(CA_TRUE, "extendedKeyUsage = emailProtection"), 0, [MX], /is not for TLS servers/],
    [
      "an unknown critical extension",
      ca(CA_TRUE, "1.2.3.4.5 = critical, ASN1:UTF8String:x"),
      0,
      [MX],
      /critical extension that is not understood here \(1.2.3.4.5\)$/,
    ],
    ["an unknown extension that is not critical", ca(CA_TRUE, "1.2.3.4.5 = ASN1:UTF8String:x"), 0, [MX], "held"],
  ];
  for (const [what, options, between, names, result] of cases)
    test(`${what}: ${result === "held" ? "held" : "refused"}`, async () => {
      const top = await createTestCa({ name: `Top ${what}`, ...options });
      let last = top;
      for (let count = 0; count < between; count++) last = await last.subordinate({ name: `Between ${count}` });
      const leaf = await last.issue({ names, commonName: MX });
      for (const numbers of ["2 0 1", "2 0 0"]) {
        const verdict = await judged(chainOf(leaf.certificate, ...(numbers === "2 0 1" ? [top.pem] : [])), [tlsaFor(top.pem, numbers)]);
        if (result === "held") expect(verdict).toBe("held");
        else {
          expect(verdict).toMatch(/^certificate-not-trusted: /);
          expect(verdict).toMatch(result);
        }
      }
    });

  test("a CA between leaf and anchor is bound by its own", async () => {
    const between = await root.subordinate({ name: "Bound", ...ca(CA_TRUE, "nameConstraints = critical, permitted;DNS:other.test") });
    const leaf = await between.issue({ names: [MX] });
    expect(await judged(chainOf(leaf.certificate, root.pem), [tlsaFor(root.pem, "2 0 1")])).toMatch(/does not allow the name/);
  });
});

describe("what the leaf is made for", () => {
  const cases: [what: string, extensions: string, held: boolean][] = [
    ["clients only", "extendedKeyUsage = clientAuth", false],
    ["anything", "extendedKeyUsage = anyExtendedKeyUsage", true],
    ["not said", "keyUsage = digitalSignature", true],
    ["an unknown critical extension", "1.2.3.4.5 = critical, ASN1:UTF8String:x", false],
  ];
  for (const [what, extensions, held] of cases)
    test(`${what}: ${held ? "held" : "refused"}`, async () => {
      const leaf = await root.issue({ names: [MX], extensions });
      const verdict = await judged(chainOf(leaf.certificate, root.pem), [tlsaFor(root.pem, "2 0 1")]);
      if (held) expect(verdict).toBe("held");
      else expect(verdict).toMatch(/^certificate-not-trusted: the certificate /);
    });
});

describe("algorithms (RFC 9325 §4.5)", () => {
  test("a leaf signed with SHA-1", async () => {
    const leaf = await root.issue({ names: [MX], digest: "sha1" });
    expect(await judged(chainOf(leaf.certificate, root.pem), [tlsaFor(root.pem, "2 0 1")])).toMatch(
      /the certificate is signed with SHA-1$/,
    );
  });
  test("a CA signed with SHA-1, below the anchor and as the anchor", async () => {
    const weak = await root.subordinate({ name: "Weak", digest: "sha1" });
    const leaf = await weak.issue({ names: [MX] });
    expect(await judged(chainOf(leaf.certificate, root.pem), [tlsaFor(root.pem, "2 0 1")])).toMatch(/CN=Weak is signed with SHA-1$/);
    expect(await judged(chainOf(leaf.certificate, root.pem), [tlsaFor(weak.own, "2 0 1")])).toBe("held");
  });
  test("an anchor with a small key", async () => {
    const small = await createTestCa({ name: "Small", key: "rsa-1024" });
    const leaf = await small.issue({ names: [MX] });
    expect(await judged(chainOf(leaf.certificate, small.pem), [tlsaFor(small.pem, "2 0 1")])).toMatch(
      /CN=Small has an RSA key of 1024 bits/,
    );
  });
});
