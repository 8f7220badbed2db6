import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseReportRecords } from "../../src/report/rua.ts";

/** Records as zone files have them: one string each, or several. */
const parse = (...records: (string | readonly string[])[]) =>
  parseReportRecords(records.map((record) => (typeof record === "string" ? [record] : record).map((part) => Buffer.from(part, "latin1"))));

/** Where reports go: addresses and URLs, or the reason there are none. */
function destinationsOf(...records: (string | readonly string[])[]): string[] | string {
  const policy = parse(...records);
  if (policy.kind === "none") return policy.reason;
  return policy.destinations.flatMap((rua) => (rua.kind === "mailto" ? [...rua.addresses] : [rua.url]));
}

const uris = (count: number) => Array.from({ length: count }, (_, at) => `mailto:r${at}@x.test`);

describe("from TXT record to destinations (RFC 8460 §3)", () => {
  const cases: [records: string[], expected: string[] | string][] = [
    [["v=TLSRPTv1;rua=mailto:r@x.test"], ["r@x.test"]],
    [["v=TLSRPTv1; rua=https://r.test/v1/tlsrpt"], ["https://r.test/v1/tlsrpt"]],
    [["v=TLSRPTv1; rua=mailto:r@x.test,https://r.test/"], ["r@x.test", "https://r.test/"]],
    [["v=TLSRPTv1; rua=mailto:r@x.test!10m"], "no-usable-uri"],
    [["v=TLSRPTv1; rua="], "no-usable-uri"],
    [["v=TLSRPTv1; rua=mailto:r@x.test; ext=1"], ["r@x.test"]],
    [["v=TLSRPTv2; rua=mailto:r@x.test"], "absent"],
    [["v=TLSRPTv1"], "absent"],
    [["v=TLSRPTv1; rua=mailto:r@x.test", "v=TLSRPTv1; rua=mailto:s@x.test"], "several"],
    [["v=TLSRPTv1; rua=mailto:r@x.test", "v=spf1 -all"], ["r@x.test"]],
  ];
  for (const [records, expected] of cases)
    test(`${records.join(" and ")}: ${String(expected)}`, () => expect(destinationsOf(...records)).toEqual(expected));
});

describe("the record, RFC 8460 §3", () => {
  const cases: [what: string, record: string | readonly string[], expected: string[] | string][] = [
    ["strings joined without blanks", ["v=TLSRPTv1; rua=mai", "lto:r@example.test"], ["r@example.test"]],
    ["a delimiter at the end", "v=TLSRPTv1;rua=mailto:r@x.test;", ["r@x.test"]],
    ["blanks and tabs around delimiters", "v=TLSRPTv1\t; \trua=mailto:r@x.test ; ", ["r@x.test"]],
    ["the version behind", "rua=mailto:r@x.test;v=TLSRPTv1", "absent"],
    ["the version in capitals", "V=TLSRPTv1;rua=mailto:r@x.test", "absent"],
    ["the version in lower case", "v=tlsrptv1;rua=mailto:r@x.test", "absent"],
    ["a longer version", "v=TLSRPTv11;rua=mailto:r@x.test", "absent"],
    ["no delimiter behind the version", "v=TLSRPTv1 rua=mailto:r@x.test", "absent"],
    ["RUA in capitals, which is another field", "v=TLSRPTv1;RUA=mailto:r@x.test", "no-usable-uri"],
    ["nothing behind the version", "v=TLSRPTv1;", "invalid"],
    ["no rua", "v=TLSRPTv1; foo=bar", "no-usable-uri"],
    ["a field that nobody knows", "v=TLSRPTv1; x=y; rua=mailto:r@x.test", ["r@x.test"]],
    ["no field: without =", "v=TLSRPTv1; x; rua=mailto:r@x.test", "invalid"],
    ["no field: an empty value", "v=TLSRPTv1; x=; rua=mailto:r@x.test", "invalid"],
    ["no field: a blank in the value", "v=TLSRPTv1; x=a b; rua=mailto:r@x.test", "invalid"],
    ["two delimiters", "v=TLSRPTv1;; rua=mailto:r@x.test", "invalid"],
    ["two rua fields, both used", "v=TLSRPTv1; rua=mailto:r@x.test; rua=mailto:s@x.test", ["r@x.test", "s@x.test"]],
    ["the ninth URI is dropped", `v=TLSRPTv1; rua=${uris(9).join(",")}`, uris(8).map((uri) => uri.slice(7))],
    ["one URI twice is used once", "v=TLSRPTv1; rua=mailto:r@x.test,mailto:r@x.test", ["r@x.test"]],
  ];
  for (const [what, record, expected] of cases) test(what, () => expect(destinationsOf(record)).toEqual(expected));

  const several: [what: string, records: string[], expected: string[] | string][] = [
    ["none", [], "absent"],
    ["two valid ones, the same", ["v=TLSRPTv1;rua=mailto:r@x.test", "v=TLSRPTv1;rua=mailto:r@x.test"], "several"],
    ["one valid, one that only begins well", ["v=TLSRPTv1;rua=mailto:r@x.test", "v=TLSRPTv1;"], "several"],
    ["one valid among strangers", ["x", "v=TLSRPTv1;rua=mailto:r@x.test", "v=TLSRPTv2;rua=mailto:s@x.test"], ["r@x.test"]],
  ];
  for (const [what, records, expected] of several) test(`records: ${what}`, () => expect(destinationsOf(...records)).toEqual(expected));
});

describe("the URIs", () => {
  const cases: [what: string, rua: string, expected: string[] | string][] = [
    ["blanks around commas, = in a query", "https://r.test/in?k=v , mailto:r@x.test", ["https://r.test/in?k=v", "r@x.test"]],
    ["only mailto and https", "http://r.test/,ftp://r.test/,mailto:r@x.test", ["r@x.test"]],
    ["schemes in capitals", "MAILTO:r@x.test,HTTPS://r.test/", ["r@x.test", "HTTPS://r.test/"]],
    ["an encoded comma in the local part, quoted for SMTP", "mailto:a%2Cb@x.test", ['"a,b"@x.test']],
    ["an encoded plus", "mailto:r%2Btls@x.test", ["r+tls@x.test"]],
    ["a plus that is none", "mailto:r+tls@x.test", ["r+tls@x.test"]],
    ["a local part in quotes of its own", "mailto:%22not%40me%22@x.test", ['"not@me"@x.test']],
    ["an https URI stays encoded", "https://r.test/a%2Cb?c=%21", ["https://r.test/a%2Cb?c=%21"]],
    ["an encoded exclamation mark", "mailto:a%21b@x.test", ["a!b@x.test"]],
    ["no size, the next is used", "mailto:r@x.test!10m,mailto:s@x.test", ["s@x.test"]],
    ["no size at https either", "https://r.test/!10m", "no-usable-uri"],
    ["header fields are passed over", "mailto:r@x.test?subject=hi&to=t@x.test", ["r@x.test"]],
    ["several addresses", "mailto:r@x.test%2Cs@y.test", ["r@x.test", "s@y.test"]],
    ["only a header field", "mailto:?to=r@x.test", "no-usable-uri"],
    ["a bare comma separates URIs, not addresses", "mailto:r@x.test,s@x.test", ["r@x.test"]],
    ["a domain in U-labels, encoded", "mailto:r@b%C3%BCcher.test", ["r@xn--bcher-kva.test"]],
    ["a blank in it", "mailto:r @x.test", "no-usable-uri"],
    ["a line end in it", "mailto:r%0d%0aBcc:s@x.test", "no-usable-uri"],
    ["an octet beyond ASCII", "mailto:\xe9@x.test", "no-usable-uri"],
    ["an encoding that is not UTF-8", "mailto:%E9@x.test", "no-usable-uri"],
    ["half an encoding", "mailto:a%2@x.test", "no-usable-uri"],
    ["no address", "mailto:r", "no-usable-uri"],
    ["an address literal", "mailto:r@%5B10.0.0.1%5D", "no-usable-uri"],
    ["https without a host", "https:///x", "no-usable-uri"],
    ["https without slashes", "https:r.test", "no-usable-uri"],
    ["https with an impossible port", "https://r.test:99999/", "no-usable-uri"],
    ["https with a login", "https://a:b@r.test/", "no-usable-uri"],
    ["https with a port", "https://r.test:8443/x", ["https://r.test:8443/x"]],
    ["https with a fragment", "https://r.test/x#y", ["https://r.test/x"]],
    ["https without a path", "https://r.test", ["https://r.test"]],
    ["a URI without end", `https://r.test/${"x".repeat(1000)}`, "no-usable-uri"],
  ];
  for (const [what, rua, expected] of cases) test(what, () => expect(destinationsOf(`v=TLSRPTv1; rua=${rua}`)).toEqual(expected));
});

test("what is not used is told in clean words", () => {
  expect(parse("v=TLSRPTv1; rua=ftp://r.test/,\x1b[31m,mailto:r@x.test")).toEqual({
    kind: "destinations",
    destinations: [{ uri: "mailto:r@x.test", kind: "mailto", addresses: ["r@x.test"] }],
    ignored: ['"ftp://r.test/": it is neither mailto nor https', '"?[31m": it is no URI, or has an unencoded exclamation mark'],
  });
  const ninth = parse(`v=TLSRPTv1; rua=${uris(9).join(",")}`);
  expect(ninth.kind === "destinations" && ninth.ignored).toEqual(['"mailto:r8@x.test": it is beyond the first 8']);
  expect(parse("v=TLSRPTv1; rua=ftp://r.test/")).toMatchObject({ detail: '"ftp://r.test/": it is neither mailto nor https' });
  expect(parse("v=TLSRPTv1; \x1b")).toMatchObject({ reason: "invalid", detail: 'this is no field: "?"' });
});

test("a record of thousands of URIs is bounded in all that comes of it", () => {
  const policy = parse(`v=TLSRPTv1; rua=${uris(5000).join(",")}`);
  expect(policy.kind === "destinations" && [policy.destinations.length, policy.ignored.length]).toEqual([8, 16]);
  const many = parse(`v=TLSRPTv1; rua=mailto:${Array.from({ length: 40 }, (_, at) => `r${at}@x.test`).join("%2C")}`);
  expect(many.kind === "destinations" && many.destinations[0]?.kind === "mailto" && many.destinations[0].addresses.length).toBe(8);
});

test("any octets give destinations without controls, or none, and never throw", () => {
  const part = fc.constantFrom(
    "v=TLSRPTv1;",
    "rua=",
    "mailto:",
    "https://",
    "r@x.test",
    ",",
    ";",
    "!",
    "%2C",
    "%",
    "%0a",
    "?",
    " ",
    "=",
    "\x00",
    "\xff",
    '"',
    "[",
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 14 }), (parts) => {
      const policy = parse(`v=TLSRPTv1; rua=mailto:${parts.join("")}`);
      const words =
        policy.kind === "none"
          ? [policy.detail]
          : policy.destinations.flatMap((rua) => [rua.uri, ...(rua.kind === "mailto" ? rua.addresses : [rua.url])]);
      for (const word of words) expect(word).not.toMatch(/[\x00-\x1f\x7f-\x9f]/);
    }),
    { numRuns: 2000 },
  );
});
