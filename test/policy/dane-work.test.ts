/**
 * A host's chain is judged between two turns of the event loop that all sessions share, so what it costs is bounded whatever
 * the host sends. Work is counted from outside, where it is done, and not timed.
 */
import { X509Certificate } from "node:crypto";
import { Certificate } from "pkijs";
import { describe, expect, test, vi } from "vitest";
import { createDaneJudge } from "../../src/policy/dane-match.ts";
import { countElements } from "../../src/policy/der.ts";
import type { TlsaRecord } from "../../src/policy/facts.ts";
import { createTestCa } from "../support/certificates.ts";
import { makeTempFolder } from "../support/temp.ts";
import { chainOf, daneRequirement, tlsaFor } from "../support/tlsa.ts";
import { createTwins, issueByTwin } from "../support/twins.ts";

const MX = "mx.example.test";
const many = (count: number, letter: string): string[] => Array.from({ length: count }, (_, index) => `${letter}${index.toString(36)}`);
const constrainedCa = (subtrees: readonly string[]): string =>
  `basicConstraints = critical, CA:TRUE\nnameConstraints = ${subtrees.map((name) => `excluded;DNS:${name}`).join(", ")}`;

interface Work {
  result: string;
  signatures: number;
  certificatesRead: number;
  /** A DNS name with a DNS subtree is one `endsWith`. */
  comparisons: number;
}

/** Far above every bound: a rule that is gone ends the test instead of keeping it busy. */
const GIVE_UP = 300_000;

async function countWork(chain: readonly X509Certificate[], records: readonly TlsaRecord[]): Promise<Work> {
  const work: Work = { result: "", signatures: 0, certificatesRead: 0, comparisons: 0 };
  const verify = vi.spyOn(X509Certificate.prototype, "verify");
  const read = vi.spyOn(Certificate, "fromBER");
  const { endsWith } = String.prototype;
  String.prototype.endsWith = function count(this: string, ...wanted): boolean {
    if ((work.comparisons += 1) > GIVE_UP) throw new Error("more comparisons than any bound allows");
    return endsWith.apply(this, wanted);
  };
  try {
    const verdict = await createDaneJudge()(chain, daneRequirement(records), Date.now());
    work.result = verdict.held ? "held" : `${verdict.failure.type}: ${verdict.failure.detail}`;
    work.signatures = verify.mock.calls.length;
    work.certificatesRead = read.mock.calls.length;
    return work;
  } finally {
    String.prototype.endsWith = endsWith;
    verify.mockRestore();
    read.mockRestore();
  }
}

describe("chains made to be slow (RFC 5280 §6.1, §4.2.1.10)", () => {
  // The last name of the leaf is excluded, so that each path fails at the end of its work and the next one is tried.
  const cases: [what: string, names: number, subtrees: number, words: RegExp][] = [
    ["one path within the bound, and the next beyond it", 60, 300, /does not allow the name bad/],
    ["300 names below nine CAs of 300 subtrees", 300, 300, /has more name constraints than are compared with the names below it/],
    ["3000 names below nine CAs of 400 subtrees", 3000, 400, /the certificate has (?:more than 1000 names in one extension|\d+ octets)/],
    ["few names below nine CAs of 1100 subtrees", 3, 1100, /more than 1000 names in one extension/],
    ["hardly any constraint", 5, 5, /does not allow the name bad/],
  ];
  for (const [what, names, subtrees, words] of cases)
    test(`${what}: refused, and the work is bounded`, async () => {
      await using folder = await makeTempFolder("slow");
      const twins = await createTwins(
        folder.path,
        Array.from({ length: 9 }, () => constrainedCa([...many(subtrees, "x"), "bad"])),
      );
      const leaf = await issueByTwin(folder.path, 0, [MX, ...many(names, "y"), "bad"]);
      const work = await countWork([leaf, ...chainOf(...twins)], [tlsaFor(twins[0] ?? "", "2 1 1")]);
      expect(work.result).toMatch(/^certificate-not-trusted: /);
      expect(work.result).toMatch(words);
      expect(work.signatures).toBeLessThanOrEqual(40);
      expect(work.certificatesRead).toBeLessThanOrEqual(10);
      expect(work.comparisons).toBeLessThanOrEqual(20_000);
    });

  test("no more than ten paths are judged: what is compared in each is compared ten times at most", async () => {
    await using folder = await makeTempFolder("paths");
    const twins = await createTwins(
      folder.path,
      Array.from({ length: 9 }, () => constrainedCa(["x", "bad"])),
    );
    const leaf = await issueByTwin(folder.path, 0, [MX, "bad"]);
    const work = await countWork([leaf, ...chainOf(...twins)], [tlsaFor(twins[0] ?? "", "2 1 1")]);
    expect(work.result).toMatch(/does not allow the name bad/);
    // Two names, each with two subtrees at most.
    expect(work.comparisons).toBeGreaterThanOrEqual(4);
    expect(work.comparisons).toBeLessThanOrEqual(40);
  });

  test("a hundred records that all name the same CAs cost no more than one", async () => {
    await using folder = await makeTempFolder("records");
    const twins = await createTwins(
      folder.path,
      Array.from({ length: 4 }, () => constrainedCa(["bad"])),
    );
    const chain = [await issueByTwin(folder.path, 0, [MX, "bad"]), ...chainOf(...twins)];
    const records = twins.flatMap((twin) => ["2 1 1", "2 1 2", "2 0 1", "2 0 2"].map((numbers) => tlsaFor(twin, numbers)));
    const one = await countWork(chain, records.slice(0, 1));
    const hundred = await countWork(chain, Array.from({ length: 7 }, () => records).flat());
    expect(one.result).toMatch(/does not allow the name bad/);
    expect(hundred).toEqual(one);
  });
});

describe("what an honest host sends is within the bounds", () => {
  test("as many comparisons as there may be, and one subtree more", async () => {
    // 199 DNS names and the subject are 200 names.
    const names = [MX, ...many(198, "y")];
    for (const [subtrees, result] of [
      [100, /^held$/],
      [101, /more name constraints than are compared .*20000 comparisons/],
    ] as const) {
      const ca = await createTestCa({
        name: `Constrained ${subtrees}`,
        extensions: `${constrainedCa(many(subtrees, "x"))}\nsubjectKeyIdentifier = hash`,
      });
      const leaf = await ca.issue({ names });
      expect((await countWork(chainOf(leaf.certificate, ca.pem), [tlsaFor(ca.pem, "2 0 1")])).result).toMatch(result);
    }
  });

  test("a thousand names, and one more", async () => {
    const root = await createTestCa();
    for (const [count, result] of [
      [999, /^held$/],
      [1000, /the certificate has more than 1000 names in one extension$/],
    ] as const) {
      const leaf = await root.issue({ names: [MX, ...many(count, "y")] });
      expect((await countWork(chainOf(leaf.certificate, root.pem), [tlsaFor(root.pem, "2 0 1")])).result).toMatch(result);
    }
  });
});

test("certificates that are all long are not all read", async () => {
  const oids = Array.from({ length: 3_600 }, (_, index) => `1.2.${index % 100}`);
  const purposes = `extendedKeyUsage = serverAuth, ${oids.join(", ")}`;
  const extensions = `basicConstraints = critical, CA:TRUE\n${purposes}`;
  const root = await createTestCa({ name: "Long Root", extensions });
  const middle = await root.subordinate({ name: "Long Middle", extensions });
  const leaf = await middle.issue({ names: [MX], extensions: purposes });
  const chain = chainOf(leaf.certificate, root.pem);
  expect((await countWork(chain, [tlsaFor(middle.own, "2 0 1")])).result).toBe("held");
  expect((await countWork(chain, [tlsaFor(root.pem, "2 0 1")])).result).toMatch(/CN=Long Root has more in it than is read for one chain$/);
});

describe("a certificate of more than 16 KB", () => {
  test("is no part of a path, unread, and matches usage 3 as any other", async () => {
    const root = await createTestCa();
    const large = await root.issue({ names: [MX, ...many(400, `${"long".repeat(12)}-`)] });
    const chain = chainOf(large.certificate, root.pem);
    expect(chain[0]?.raw.length).toBeGreaterThan(16_384);
    const below = await countWork(chain, [tlsaFor(root.pem, "2 0 1")]);
    expect(below.result).toMatch(/^certificate-not-trusted: the certificate has \d+ octets, and at most 16384 are read$/);
    expect(below.certificatesRead).toBe(0);
    for (const numbers of ["3 1 1", "3 0 1", "3 0 2", "3 0 0"]) {
      const exact = await countWork(chain, [tlsaFor(large.certificate, numbers), tlsaFor(root.pem, "2 0 1")]);
      expect(exact).toMatchObject({ result: "held", certificatesRead: 0, signatures: 0 });
    }
  });
});

test("elements are counted inside others, and only as far as they nest", () => {
  const cases: [hex: string, count: number][] = [
    ["", 0],
    ["0500", 1],
    ["30040500" + "0500", 3],
    ["3006" + "30040500" + "0500", 4],
    // Content of a string is not looked into.
    ["04020500", 1],
    ["30", 0],
    ["3005" + "0500", 0],
  ];
  for (const [hex, count] of cases) expect([hex, countElements(Buffer.from(hex, "hex"))]).toEqual([hex, count]);
});
