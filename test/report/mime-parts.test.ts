import { describe, expect, test } from "vitest";
import { findLeaves } from "../../src/report/mime-parts.ts";

const leavesOf = (...lines: string[]) => findLeaves(Buffer.from(lines.join("\r\n"))).map(({ type, octets }) => [type, octets.toString()]);
const HEAD = ["Content-Type: multipart/mixed; boundary=b", ""];

describe("parts of a mail, RFC 2046 §5.1.1", () => {
  const cases: [what: string, lines: string[], leaves: string[][]][] = [
    [
      "preamble and epilogue are no parts",
      [...HEAD, "pre", "--b", "", "one", "--b", "", "two", "--b--", "--b", "", "three"],
      [
        ["text/plain", "one"],
        ["text/plain", "two"],
      ],
    ],
    ["the line end in front of a delimiter is the delimiter's", [...HEAD, "--b", "", "one", "", "--b--"], [["text/plain", "one\n"]]],
    [
      "a line that only begins like a delimiter is text",
      [...HEAD, "--b", "", "one", "--bx", "--b x", " --b", "--b--"],
      [["text/plain", "one\n--bx\n--b x\n --b"]],
    ],
    ["blanks behind a delimiter", [...HEAD, "--b \t", "", "one", "--b-- "], [["text/plain", "one"]]],
    ["no part at all", [...HEAD, "--b--"], []],
    ["an empty part", [...HEAD, "--b", "--b--"], [["text/plain", ""]]],
    [
      "a folded field in any case",
      ["CONTENT-type: multipart/mixed;", '\tBoundary="b"', "", "--b", "content-TYPE: Text/HTML; x=y", "", "one", "--b--"],
      [["text/html", "one"]],
    ],
    ["a field of the body is no field", ["Subject: x", "", "Content-Type: text/html"], [["text/plain", "Content-Type: text/html"]]],
    ["a multipart without a boundary is a leaf", ["Content-Type: multipart/mixed", "", "one"], [["multipart/mixed", "one"]]],
    ["a header without a body", ["Content-Type: text/html"], [["text/html", ""]]],
  ];
  for (const [what, lines, leaves] of cases) test(what, () => expect(leavesOf(...lines)).toEqual(leaves));
});
