import { describe, expect, test } from "vitest";
import { type Belief, concludeSelfTest, type Probe, runSelfTest } from "../../src/lookup/self-test.ts";

/** Whether a resolver validates (RFC 7672 §2.1.1): blind only from a positive sign. */

const ad: Probe = { kind: "answered", authenticated: true, hasRecords: true };
const plain: Probe = { kind: "answered", authenticated: false, hasRecords: true };
const nodata: Probe = { kind: "answered", authenticated: false, hasRecords: false };
const nodataAd: Probe = { kind: "answered", authenticated: true, hasRecords: false };
const gone: Probe = { kind: "no-such-name", authenticated: false };
const servfail: Probe = { kind: "refused", detail: "SERVFAIL from 192.0.2.53" };
const silent: Probe = { kind: "silent", detail: "resolver 192.0.2.53 did not answer in time" };

const read = (signed: Probe, broken: Probe[]) => ({
  signed: { name: ".", probe: signed },
  broken: broken.map((probe, at) => ({ name: `broken${at}.example`, probe })),
});

const cases: [what: string, signed: Probe, broken: Probe[], from: Record<Belief, "validating" | "blind" | undefined>][] = [
  [
    "AD, and the broken names refused",
    ad,
    [servfail, servfail, servfail],
    { untested: "validating", validating: "validating", blind: "validating" },
  ],
  ["the signed name without AD", plain, [servfail, servfail], { untested: "blind", validating: "blind", blind: "blind" }],
  ["the signed name empty and without AD", nodata, [servfail], { untested: "blind", validating: "blind", blind: "blind" }],
  ["AD on a denial", nodataAd, [servfail], { untested: "validating", validating: "validating", blind: "validating" }],
  ["AD, but the broken name answered", ad, [plain], { untested: "blind", validating: "blind", blind: "blind" }],
  ["AD on everything, the broken names too", ad, [ad, ad, ad], { untested: "blind", validating: "blind", blind: "blind" }],
  [
    "AD, two of three broken names answered, one silent",
    ad,
    [plain, plain, silent],
    { untested: "blind", validating: "blind", blind: "blind" },
  ],
  ["the signed name dropped, all broken ones answered", silent, [plain, plain], { untested: "blind", validating: "blind", blind: "blind" }],
  ["the signed name dropped, the only broken one answered", silent, [plain], { untested: "blind", validating: "blind", blind: "blind" }],
  // One name that its owner repaired, and somebody who drops what else is asked.
  [
    "AD, one of three broken names answered, the others silent",
    ad,
    [plain, silent, silent],
    { untested: undefined, validating: undefined, blind: undefined },
  ],
  [
    "the signed name dropped, and one of three broken names answered, the others silent",
    silent,
    [plain, silent, silent],
    { untested: undefined, validating: undefined, blind: undefined },
  ],
  [
    "the signed name dropped, one broken name answered and two refused",
    silent,
    [plain, servfail, servfail],
    { untested: undefined, validating: undefined, blind: undefined },
  ],
  [
    "AD, and as many broken names answered as refused",
    ad,
    [plain, servfail],
    { untested: undefined, validating: undefined, blind: undefined },
  ],
  [
    "AD, two broken names answered and one refused",
    ad,
    [plain, plain, servfail],
    { untested: undefined, validating: undefined, blind: undefined },
  ],
  ["AD, one broken name answered and another gone", ad, [plain, gone], { untested: undefined, validating: undefined, blind: undefined }],
  [
    "the signed name without AD, the broken ones silent",
    plain,
    [silent, silent, silent],
    { untested: "blind", validating: "blind", blind: "blind" },
  ],
  // A name that its owner repaired is no sign against a resolver that refuses the others.
  [
    "AD, one broken name answered and two refused",
    ad,
    [plain, servfail, servfail],
    { untested: "validating", validating: "validating", blind: "validating" },
  ],
  // The attacker who drops the probe.
  ["nothing came back", silent, [silent, silent], { untested: undefined, validating: undefined, blind: undefined }],
  [
    "the signed name dropped, the broken ones refused",
    silent,
    [servfail, servfail],
    { untested: undefined, validating: undefined, blind: undefined },
  ],
  ["the signed name spoilt on its way: SERVFAIL", servfail, [servfail], { untested: undefined, validating: undefined, blind: undefined }],
  [
    "SERVFAIL for everything, as without a net",
    servfail,
    [servfail, servfail],
    { untested: undefined, validating: undefined, blind: undefined },
  ],
  ["the signed name said not to exist", gone, [servfail], { untested: undefined, validating: undefined, blind: undefined }],
  ["AD, and the broken names dropped", ad, [silent, silent], { untested: "validating", validating: "validating", blind: undefined }],
  ["AD, and the broken names gone", ad, [gone, nodata], { untested: "validating", validating: "validating", blind: undefined }],
  ["AD, and no broken name to try", ad, [], { untested: "validating", validating: "validating", blind: "validating" }],
];

for (const [what, signed, broken, from] of cases)
  describe(what, () => {
    for (const [before, belief] of Object.entries(from) as [Belief, "validating" | "blind" | undefined][])
      test(`${before} ${belief === undefined ? "stays" : `becomes ${belief}`}`, () =>
        expect(concludeSelfTest(before, read(signed, broken)).belief).toBe(belief));
  });

test("the conclusion says from what", () => {
  expect(concludeSelfTest("untested", read(plain, [])).detail).toBe(
    "does not validate: the root is signed, and its answer came without AD",
  );
  expect(concludeSelfTest("untested", read(ad, [plain])).detail).toBe(
    "does not validate: it answers broken0.example, whose signatures are broken",
  );
  expect(concludeSelfTest("untested", read(ad, [plain, servfail, servfail])).detail).toContain("broken0.example seems to be repaired");
  expect(concludeSelfTest("untested", read(silent, [])).detail).toContain("did not answer in time");
});

test("the test asks for the signed name's SOA and for the addresses of the broken ones", async () => {
  const asked: string[] = [];
  const reading = await runSelfTest({ signed: ".", broken: ["a.example", "b.example"] }, (name, type) => {
    asked.push(`${name} ${type}`);
    return Promise.resolve(name === "." ? ad : servfail);
  });
  expect(asked).toEqual([". SOA", "a.example A", "b.example A"]);
  expect(concludeSelfTest("untested", reading).belief).toBe("validating");
});
