import { expect, test } from "vitest";
import { findMangledStartTls, parseExtensions } from "../../../src/delivery/extensions.ts";

const parse = (...lines: string[]) => parseExtensions({ code: 250, lines: ["mx.example.test", ...lines] });

test("keywords are found in any case, with their parameters (RFC 5321 §4.1.1.1)", () => {
  expect(
    parse("starttls", "Pipelining", "SIZE 1000", "8bitmime", "SmtpUtf8", "dsn", "EnhancedStatusCodes", "AUTH plain LOGIN"),
  ).toMatchObject({
    startTls: true,
    pipelining: true,
    size: true,
    sizeLimit: 1000,
    eightBitMime: true,
    smtpUtf8: true,
    dsn: true,
    enhancedStatusCodes: true,
    auth: ["PLAIN", "LOGIN"],
  });
});

test("the first line offers nothing", () => {
  for (const line of ["STARTTLS", "STARTTLS.example.test", "mx STARTTLS"])
    expect(parseExtensions({ code: 250, lines: [line] }).startTls).toBe(false);
});

test.each(["STARTTLS.example.test", "X-STARTTLS", "STARTTLSX", "-STARTTLS", "please STARTTLS"])("%s is not STARTTLS", (line) =>
  expect(parse(line).startTls).toBe(false),
);

test.each(["SIZE", "SIZE 0", "SIZE x", "SIZE -5"])("%s names no limit (RFC 1870 §4)", (line) => {
  const { size, sizeLimit } = parse(line);
  expect({ size, sizeLimit }).toEqual({ size: true, sizeLimit: undefined });
});

test("STARTTLS overwritten on the way is recognised", () => {
  expect(findMangledStartTls(parse("XXXXXXXA"))).toBe("XXXXXXXA");
  expect(findMangledStartTls(parse("XSTART"))).toBe("XSTART");
  expect(findMangledStartTls(parse("XCLIENT", "XFORWARD", "SIZE"))).toBeUndefined();
});
