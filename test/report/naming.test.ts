import { describe, expect, test } from "vitest";
import type { EmailAddress } from "../../src/mail/address.ts";
import type { Domain } from "../../src/mail/domain.ts";
import { nameOf, newReportId } from "../../src/report/naming.ts";
import { counted, exampleDocument, REPORT_DOMAIN, tlsa } from "./examples.ts";

/** RFC 8460 §5.1. */
const DOMAIN = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*";
const FILE_NAME = new RegExp(`^(${DOMAIN})!(${DOMAIN})!([0-9]+)!([0-9]+)!([A-Za-z0-9]+)\\.json\\.gz$`);
/** RFC 8460 §5.3, with dot-atoms for both sides of the id (RFC 5322 §3.6.4). */
const ATOMS = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*";
const SUBJECT = new RegExp(`^Report Domain: (${DOMAIN}) Submitter: (${DOMAIN}) Report-ID: <(${ATOMS}@${ATOMS})>$`);

test("the file name (RFC 8460 §5.1)", () =>
  expect(nameOf(exampleDocument({ id: "a1b2@sender.test" }), REPORT_DOMAIN).fileName).toBe(
    "sender.test!example.test!1772323200!1772409599!a1b2.json.gz",
  ));

test("the id's letters and digits alone distinguish file names (RFC 8460 §5.1)", () =>
  expect(nameOf(exampleDocument({ id: "735ff.e317+bf-22029@sender.test" }), REPORT_DOMAIN).fileName).toMatch(
    /!735ffe317bf22029\.json\.gz$/,
  ));

test("file name, subject, submitter and id say what the document says, by RFC 8460's grammars (RFC 8460 §4.4, §5.1, §5.3, §5.6)", () => {
  const name = nameOf(exampleDocument(), REPORT_DOMAIN);
  expect(name).toMatchObject({ submitter: "sender.test", reportDomain: "example.test", reportId: "a1b2c3@sender.test" });
  expect(FILE_NAME.exec(name.fileName)?.slice(1)).toEqual(["sender.test", "example.test", "1772323200", "1772409599", "a1b2c3"]);
  expect(SUBJECT.exec(name.subject)?.slice(1)).toEqual(["example.test", "sender.test", "a1b2c3@sender.test"]);
});

test("a contact with an @ in its local part: the submitter is what follows the last one", () =>
  expect(nameOf(exampleDocument({ contact: '"a@b"@sender.test' as EmailAddress }), REPORT_DOMAIN).submitter).toBe("sender.test"));

test("A-labels everywhere (RFC 8460 §4.4)", () => {
  const domain = "xn--bcher-kva.test" as Domain;
  const { fileName, subject } = nameOf(exampleDocument({ reportDomain: domain }), domain);
  expect(fileName).toContain("!xn--bcher-kva.test!");
  expect(subject).toContain("Report Domain: xn--bcher-kva.test ");
});

test("where only TLSA records were applied the report is for the domain, not for its mail host", () =>
  expect(nameOf(exampleDocument({ counts: [counted(tlsa, 1)] }), REPORT_DOMAIN).fileName).toContain("!example.test!"));

test("a text that is no report of ours is a broken promise", () => {
  expect(() => nameOf("{}", REPORT_DOMAIN)).toThrow("none of ours");
  expect(() => nameOf("no JSON", REPORT_DOMAIN)).toThrow("none of ours");
});

describe("ids (RFC 8460 §4.4, §5.3)", () => {
  test("are made of letters and digits and the submitter's domain", () => {
    expect(newReportId("sender.test", () => 0)).toBe(`${"0".repeat(28)}@sender.test`);
    expect(newReportId("sender.test", () => 1 - 2 ** -53)).toBe(`${"1z141z3".repeat(4)}@sender.test`);
  });
  test("differ", () => expect(new Set(Array.from({ length: 10_000 }, () => newReportId("sender.test", Math.random))).size).toBe(10_000));
});
