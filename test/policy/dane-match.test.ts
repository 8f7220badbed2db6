import type { X509Certificate } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { TlsaRecord } from "../../src/policy/facts.ts";
import { createDaneJudge } from "../../src/policy/dane-match.ts";
import type { DaneVerdict } from "../../src/policy/outcome.ts";
import { type DigestName, judgeTlsa } from "../../src/policy/tlsa.ts";
import { createTestCa, type IssuedCertificate, type TestCa, type TestKey } from "../support/certificates.ts";
import { chainOf, daneRequirement, tlsaFor } from "../support/tlsa.ts";

const DAY = 86_400_000;
const now = Date.now();
const ago = (days: number) => new Date(now - days * DAY);
const MX = "mx.example.test";

const judge = createDaneJudge();
const verdictOf = (chain: readonly X509Certificate[], records: readonly TlsaRecord[], names?: readonly string[], at = now) =>
  judge(chain, daneRequirement(records, names), at);
const told = (verdict: DaneVerdict): string => (verdict.held ? `held by ${verdict.record.slice(0, 5)}` : verdict.failure.type);
const detailOf = (verdict: DaneVerdict): string => (verdict.held ? "" : verdict.failure.detail);

const root = await createTestCa();
const middle = await root.subordinate({ name: "Middle" });
const right = await middle.issue({ names: [MX] });
const wrong = await middle.issue({ names: ["other.test"] });
const expired = await middle.issue({ names: [MX], from: ago(60), to: ago(1) });
const future = await middle.issue({ names: [MX], from: new Date(now + DAY), to: new Date(now + 2 * DAY) });
const wrongAndExpired = await middle.issue({ names: ["other.test"], from: ago(60), to: ago(1) });
const selfSigned = await root.issue({ names: [MX], selfSigned: true });
const selfSignedCa = await createTestCa({ name: MX });
const selfSignedExpired = await root.issue({ names: ["other.test"], selfSigned: true, from: ago(60), to: ago(1) });
const oldRoot = await createTestCa({ name: "Old Root", from: ago(90), to: ago(2) });
const middleOfOld = await oldRoot.subordinate({ name: "Middle Of Old" });
const belowOld = await middleOfOld.issue({ names: [MX] });

const leafOf = ({ certificate }: IssuedCertificate): string => certificate.slice(0, certificate.indexOf("-----END") + 26);

describe("a record against what the host presents (RFC 7672 §3.1)", () => {
  const cases: [what: string, chain: string[], records: TlsaRecord[], result: string][] = [
    [
      "3 1 1 of the leaf's key, self-signed, wrong name, expired",
      [selfSignedExpired.certificate],
      [tlsaFor(selfSignedExpired.certificate, "3 1 1")],
      "held by 3 1 1",
    ],
    ["3 1 1 of a leaf that is not valid yet", [leafOf(future)], [tlsaFor(future.certificate, "3 1 1")], "held by 3 1 1"],
    ["3 0 1 of a leaf that is marked as a CA", [selfSignedCa.pem], [tlsaFor(selfSignedCa.pem, "3 0 1")], "held by 3 0 1"],
    ["3 0 1 of an old certificate", [right.certificate], [tlsaFor(expired.certificate, "3 0 1")], "validation-failure"],
    ["3 1 1 of the issuer's key", [right.certificate], [tlsaFor(middle.own, "3 1 1")], "validation-failure"],
    ["3 0 1 of the issuer", [right.certificate], [tlsaFor(middle.own, "3 0 1")], "validation-failure"],
    ["2 0 1 of the issuer", [right.certificate], [tlsaFor(middle.own, "2 0 1")], "held by 2 0 1"],
    ["2 0 1 of the issuer, leaf alone", [leafOf(right)], [tlsaFor(middle.own, "2 0 1")], "certificate-not-trusted"],
    ["2 0 1 of the root, all sent", [right.certificate, root.pem], [tlsaFor(root.pem, "2 0 1")], "held by 2 0 1"],
    ["2 0 1 of the root, which was not sent", [right.certificate], [tlsaFor(root.pem, "2 0 1")], "certificate-not-trusted"],
    [
      "2 0 1 of an intermediate below an expired root",
      [belowOld.certificate, oldRoot.pem],
      [tlsaFor(middleOfOld.own, "2 0 1")],
      "held by 2 0 1",
    ],
    ["2 0 1 of an expired root", [belowOld.certificate, oldRoot.pem], [tlsaFor(oldRoot.pem, "2 0 1")], "certificate-expired"],
    ["2 0 1 of the issuer, wrong name", [wrong.certificate], [tlsaFor(middle.own, "2 0 1")], "certificate-host-mismatch"],
    ["2 0 1 of the issuer, leaf expired", [expired.certificate], [tlsaFor(middle.own, "2 0 1")], "certificate-expired"],
    ["2 0 1 of the issuer, leaf not valid yet", [future.certificate], [tlsaFor(middle.own, "2 0 1")], "validation-failure"],
    ["2 0 0 of the issuer, leaf alone", [leafOf(right)], [tlsaFor(middle.own, "2 0 0")], "held by 2 0 0"],
    ["2 0 0 of the root, leaf and intermediate", [right.certificate], [tlsaFor(root.pem, "2 0 0")], "held by 2 0 0"],
    ["2 0 0 of another CA", [right.certificate], [tlsaFor(oldRoot.pem, "2 0 0")], "certificate-not-trusted"],
    ["2 1 0 of the issuer's key, leaf alone", [leafOf(right)], [tlsaFor(middle.own, "2 1 0")], "held by 2 1 0"],
    ["2 1 0 of the root's key, leaf and intermediate", [right.certificate], [tlsaFor(root.pem, "2 1 0")], "held by 2 1 0"],
    ["2 1 0 of the issuer's key, wrong name", [leafOf(wrong)], [tlsaFor(middle.own, "2 1 0")], "certificate-host-mismatch"],
    ["2 1 0 of the issuer's key, leaf expired", [leafOf(expired)], [tlsaFor(middle.own, "2 1 0")], "certificate-expired"],
    ["2 1 0 of another key", [right.certificate], [tlsaFor(oldRoot.pem, "2 1 0")], "certificate-not-trusted"],
    ["2 1 1 of the issuer's key, leaf alone", [leafOf(right)], [tlsaFor(middle.own, "2 1 1")], "certificate-not-trusted"],
    ["2 1 1 of the issuer's key, sent", [right.certificate], [tlsaFor(middle.own, "2 1 1")], "held by 2 1 1"],
    ["2 0 1 of a self-signed leaf", [selfSigned.certificate], [tlsaFor(selfSigned.certificate, "2 0 1")], "certificate-not-trusted"],
    ["2 0 0 of a self-signed leaf", [selfSignedCa.pem], [tlsaFor(selfSignedCa.pem, "2 0 0")], "certificate-not-trusted"],
    ["2 1 0 of a self-signed leaf", [selfSignedCa.pem], [tlsaFor(selfSignedCa.pem, "2 1 0")], "certificate-not-trusted"],
    [
      "2 0 1 of a self-signed leaf sent twice",
      [selfSignedCa.pem, selfSignedCa.pem],
      [tlsaFor(selfSignedCa.pem, "2 0 1")],
      "certificate-not-trusted",
    ],
    ["2 0 1 of a leaf that another signed", [right.certificate], [tlsaFor(right.certificate, "2 0 1")], "certificate-not-trusted"],
    ["a wrong 3 1 1 and a right 2 0 1", [right.certificate], [tlsaFor(root.pem, "3 1 1"), tlsaFor(middle.own, "2 0 1")], "held by 2 0 1"],
    [
      "a right 3 1 1 and a wrong 2 0 1",
      [wrongAndExpired.certificate],
      [tlsaFor(root.pem, "2 0 1"), tlsaFor(wrongAndExpired.certificate, "3 1 1")],
      "held by 3 1 1",
    ],
    [
      "one of five",
      [right.certificate],
      [...["3 0 1", "3 1 2", "2 0 2", "2 1 1"].map((n) => tlsaFor(oldRoot.pem, n)), tlsaFor(right.certificate, "3 1 1")],
      "held by 3 1 1",
    ],
    [
      "3 1 1 of the issuer beside a wrong 2 0 1",
      [right.certificate, root.pem],
      [tlsaFor(middle.own, "3 1 1"), tlsaFor(oldRoot.pem, "2 0 1")],
      "validation-failure",
    ],
    ["neither of two usages", [right.certificate], [tlsaFor(oldRoot.pem, "3 1 1"), tlsaFor(oldRoot.pem, "2 0 1")], "validation-failure"],
    ["no certificate", [], [tlsaFor(right.certificate, "3 1 1")], "certificate-not-trusted"],
  ];
  for (const [what, chain, records, result] of cases)
    test(`${what}: ${result}`, async () => expect(told(await verdictOf(chainOf(...chain), records))).toBe(result));

  test("the key of a renewed certificate still matches", async () => {
    const [renewed] = chainOf(right.certificate);
    expect(told(await verdictOf(renewed === undefined ? [] : [renewed], [tlsaFor(right.certificate, "3 1 1")], []))).toBe("held by 3 1 1");
  });

  for (const key of ["rsa-2048", "ec", "ed25519"] as const satisfies readonly TestKey[])
    for (const numbers of ["3 0 0", "3 0 1", "3 0 2", "3 1 0", "3 1 1", "3 1 2"])
      test(`${numbers} of an ${key} leaf`, async () => {
        const leaf = await root.issue({ names: [MX], key });
        expect(told(await verdictOf(chainOf(leaf.certificate), [tlsaFor(leaf.certificate, numbers)]))).toBe(`held by ${numbers}`);
      });

  for (const key of ["rsa-2048", "ec", "ed25519"] as const satisfies readonly TestKey[])
    for (const numbers of ["2 0 0", "2 0 1", "2 0 2", "2 1 0", "2 1 1", "2 1 2"])
      test(`${numbers} of an ${key} CA`, async () => {
        const ca = await createTestCa({ name: `CA ${key}`, key });
        const leaf = await ca.issue({ names: [MX] });
        expect(told(await verdictOf(chainOf(leaf.certificate, ca.pem), [tlsaFor(ca.pem, numbers)]))).toBe(`held by ${numbers}`);
      });

  test("a key of any size matches usage 3, and none too small leads to an anchor", async () => {
    const small = await root.issue({ names: [MX], key: "rsa-1024" });
    expect(told(await verdictOf(chainOf(small.certificate), [tlsaFor(small.certificate, "3 1 1")]))).toBe("held by 3 1 1");
    const verdict = await verdictOf(chainOf(small.certificate, root.pem), [tlsaFor(root.pem, "2 0 1")]);
    expect(told(verdict)).toBe("certificate-not-trusted");
    expect(detailOf(verdict)).toContain("1024 bits");
  });
});

describe("digest agility decides before a match does (RFC 7671 §9)", () => {
  const leaf = right.certificate;
  const other = wrong.certificate;
  const cases: [what: string, records: TlsaRecord[], held: boolean][] = [
    ["Full matches alone", [tlsaFor(other, "3 1 1"), tlsaFor(other, "3 1 2"), tlsaFor(leaf, "3 1 0")], true],
    ["SHA-512 matches", [tlsaFor(other, "3 1 1"), tlsaFor(leaf, "3 1 2")], true],
    ["SHA-256 alone matches, beside SHA-512", [tlsaFor(leaf, "3 1 1"), tlsaFor(other, "3 1 2")], false],
    ["SHA-256 matches, SHA-512 is of the other selector", [tlsaFor(leaf, "3 1 1"), tlsaFor(other, "3 0 2")], true],
    ["SHA-256 matches, SHA-512 is of the other usage", [tlsaFor(leaf, "3 1 1"), tlsaFor(other, "2 1 2")], true],
    ["SHA-256 matches, SHA-512 is malformed", [tlsaFor(leaf, "3 1 1"), { ...tlsaFor(other, "3 1 2"), data: Buffer.alloc(63) }], true],
    ["SHA-256 matches, the other is unknown", [tlsaFor(leaf, "3 1 1"), { ...tlsaFor(other, "3 1 2"), matchingType: 3 }], true],
  ];
  const digests: readonly DigestName[] = ["sha512", "sha256"];
  for (const [what, records, held] of cases)
    test(`${what}: ${held ? "authenticated" : "not"}`, async () =>
      expect((await verdictOf(chainOf(leaf), judgeTlsa(records, digests).usable)).held).toBe(held));
});

describe("names that a certificate below an anchor may carry (RFC 7672 §3.2.3)", () => {
  const cases: [what: string, names: string[], commonName: string | undefined, references: string[], found: string | undefined][] = [
    ["the base domain", [MX], undefined, [MX, "example.test"], MX],
    ["the next hop", ["example.test"], undefined, [MX, "example.test"], "example.test"],
    ["the next hop where only the base domain counts", ["example.test"], undefined, [MX], undefined],
    ["in capitals", ["MX.Example.TEST"], undefined, [MX], MX],
    ["a whole-label wildcard", ["*.example.test"], undefined, [MX], MX],
    ["a wildcard one label too high", ["*.test"], undefined, [MX], undefined],
    ["a wildcard for the next hop", ["*.test"], undefined, [MX, "example.test"], "example.test"],
    ["part of a label", ["m*.example.test"], undefined, [MX], undefined],
    ["one of several", ["a.test", "b.test", MX], undefined, [MX], MX],
    ["the common name where there is no DNS-ID", [], MX, [MX], MX],
    ["a wildcard in the common name", [], "*.example.test", [MX], MX],
    ["the common name beside another DNS-ID", ["other.test"], MX, [MX], undefined],
    ["the common name beside an address", ["192.0.2.1"], MX, [MX], MX],
    ["no name at all", [], "Postern", [MX], undefined],
  ];
  for (const [what, names, commonName, references, found] of cases)
    test(`${what}: ${found ?? "no match"}`, async () => {
      const leaf = await middle.issue({ names, ...(commonName !== undefined && { commonName }) });
      const verdict = await verdictOf(chainOf(leaf.certificate), [tlsaFor(middle.own, "2 0 1")], references);
      if (found === undefined) expect(told(verdict)).toBe("certificate-host-mismatch");
      else expect(verdict).toMatchObject({ held: true, baseDomain: MX, referenceIdentifier: found });
    });

  test("usage 3 tells no name, and needs none", async () => {
    const verdict = await verdictOf(chainOf(wrong.certificate), [tlsaFor(wrong.certificate, "3 1 1")], []);
    expect(verdict).toMatchObject({ held: true });
    expect(verdict).not.toHaveProperty("referenceIdentifier");
  });
});

describe("what a person reads", () => {
  test("a mismatch gives the record that would have matched, and the date of the certificate", async () => {
    const detail = detailOf(await verdictOf(chainOf(right.certificate), [tlsaFor(wrong.certificate, "3 1 1")]));
    const digest = tlsaFor(right.certificate, "3 1 1").data.toString("hex");
    const from = new Date(chainOf(right.certificate)[0]?.validFrom ?? "").toISOString();
    expect(detail).toContain(`(dane-no-match), its key would be 3 1 1 ${digest}, its certificate is valid from ${from.slice(0, 10)}`);
    expect(detail).toMatch(/: perhaps the key was changed and DNS was not$/);
  });

  test("an anchor that was not sent is asked for", async () => {
    const detail = detailOf(await verdictOf(chainOf(right.certificate), [tlsaFor(root.pem, "2 0 1")]));
    expect(detail).toContain("CN=Middle, issued by CN=Postern Test Root");
    expect(detail).toContain("has to send the issuer's certificate");
  });

  test("a wrong name gives the names there are and those that would do", async () => {
    const many = await middle.issue({ names: ["a.test", "b.test", "c.test", "d.test", "e.test", "f.test", "g.test"] });
    const detail = detailOf(await verdictOf(chainOf(many.certificate), [tlsaFor(middle.own, "2 0 1")], [MX, "example.test"]));
    expect(detail).toBe(
      "the certificate is for a.test, b.test, c.test, d.test, e.test and 2 more, not for mx.example.test or example.test",
    );
  });

  test("an end date", async () => {
    const detail = detailOf(await verdictOf(chainOf(expired.certificate), [tlsaFor(middle.own, "2 0 1")]));
    expect(detail).toMatch(/^the certificate ended \d{4}-\d\d-\d\d \d\d:\d\d UTC$/);
  });

  test("a matching record is told with at most 64 hexadecimal digits", async () => {
    const verdict = await verdictOf(chainOf(right.certificate), [tlsaFor(right.certificate, "3 1 2")]);
    expect(verdict).toMatchObject({ record: `3 1 2 ${tlsaFor(right.certificate, "3 1 2").data.toString("hex").slice(0, 64)}` });
  });
});

describe("verdicts are kept, and only for what they were reached for", () => {
  const fresh = (): ((ca: TestCa, leaf: IssuedCertificate, at: number, names?: readonly string[]) => Promise<DaneVerdict>) => {
    const own = createDaneJudge();
    return (ca, leaf, at, names) => own(chainOf(leaf.certificate), daneRequirement([tlsaFor(ca.own, "2 0 1")], names), at);
  };

  test("the same question has the same answer", async () => {
    const ask = fresh();
    expect(await ask(middle, right, now)).toBe(await ask(middle, right, now + 1_000));
  });

  test("a certificate that ends, or begins, meanwhile is seen to", async () => {
    const ask = fresh();
    expect(told(await ask(middle, right, now))).toBe("held by 2 0 1");
    expect(told(await ask(middle, right, now + 40 * DAY))).toBe("certificate-expired");
    expect(told(await ask(middle, right, now))).toBe("held by 2 0 1");
    expect(told(await ask(middle, future, now))).toBe("validation-failure");
    expect(told(await ask(middle, future, now + 1.5 * DAY))).toBe("held by 2 0 1");
  });

  test("at the very moment of the end it holds, a millisecond later not", async () => {
    const ask = fresh();
    const end = Date.parse(chainOf(right.certificate)[0]?.validTo ?? "");
    expect(told(await ask(middle, right, end))).toBe("held by 2 0 1");
    expect(told(await ask(middle, right, end + 1))).toBe("certificate-expired");
    expect(told(await ask(middle, right, end))).toBe("held by 2 0 1");
  });

  test("other names, records or certificates are another question", async () => {
    const ask = fresh();
    expect(told(await ask(middle, right, now))).toBe("held by 2 0 1");
    expect(told(await ask(middle, right, now, ["other.test"]))).toBe("certificate-host-mismatch");
    expect(told(await ask(oldRoot, right, now))).toBe("certificate-not-trusted");
    expect(told(await ask(middle, wrong, now))).toBe("certificate-host-mismatch");
  });
});
