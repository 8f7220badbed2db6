import dnsPacket, { type Answer } from "dns-packet";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readAnswer } from "../../src/lookup/answer.ts";
import { type RecordType, typeNumber } from "../../src/lookup/rdata.ts";
import { answersQuery, decodeResponse, encodeQuery } from "../../src/lookup/wire.ts";

const wireName = Buffer.from("\x07example\x04test\x00", "latin1");

const types: RecordType[] = [
  "A",
  "AAAA",
  "CNAME",
  "NS",
  "PTR",
  "MX",
  "SOA",
  "TXT",
  "TLSA",
  "SRV",
  "CAA",
  "DS",
  "DNSKEY",
  "RRSIG",
  "NSEC",
  "NSEC3",
  "SSHFP",
  "HINFO",
  "RP",
  "NAPTR",
  "NULL",
];

function response(
  answers: Answer[],
  type: RecordType = "MX",
  more: { authorities?: Answer[]; additionals?: Answer[]; flags?: number } = {},
): Buffer {
  return dnsPacket.encode({
    type: "response",
    id: 1,
    flags: more.flags ?? 0,
    questions: [{ name: "example.test", type }],
    answers,
    ...more,
  });
}

const decode = (message: Buffer, type: RecordType = "MX") => decodeResponse(message, typeNumber(type) ?? 0, type);

test("the query asks for recursion and security status, and leaves the checking on", () => {
  const query = dnsPacket.decode(encodeQuery(0x1234, wireName, 15, true));
  expect(query).toMatchObject({
    id: 0x1234,
    type: "query",
    flag_rd: true,
    flag_ad: true,
    flag_cd: false,
    questions: [{ name: "example.test", type: "MX", class: "IN" }],
  });
  expect(query.additionals).toMatchObject([{ type: "OPT", udpPayloadSize: 1232, ednsVersion: 0, flag_do: true, options: [] }]);
  expect(dnsPacket.decode(encodeQuery(1, wireName, 15, false)).additionals).toEqual([]);
});

describe("an answer must fit the query", () => {
  const query = encodeQuery(1, wireName, 15, true);
  const end = 12 + wireName.length + 4;
  const right = response([]);
  const changed = (at: number, octet: number): Buffer => {
    const copy = Buffer.from(right);
    copy[at] = octet;
    return copy;
  };
  const bare = (rcode: number): Buffer => Buffer.from([0, 1, 0x81, 0x80 | rcode, 0, 0, 0, 0, 0, 0, 0, 0]);
  const cases: [what: string, message: Buffer, fits: boolean][] = [
    ["itself", right, true],
    ["another case", changed(13, 0x45), true],
    ["another id", changed(1, 2), false],
    ["a query", changed(2, 0x01), false],
    ["another opcode", changed(2, 0x90), false],
    ["another name", changed(13, 0x66), false],
    ["another type", changed(end - 3, 1), false],
    ["another class", changed(end - 1, 3), false],
    ["two questions", changed(5, 2), false],
    ["cut inside the question", right.subarray(0, 20), false],
    ["nothing", Buffer.alloc(0), false],
    ["a header only, SERVFAIL", bare(2), true],
    ["a header only, NOERROR", bare(0), false],
    ["a header only, NXDOMAIN", bare(3), false],
  ];
  for (const [what, message, fits] of cases)
    test(`${what}: ${fits ? "fits" : "is passed over"}`, () => expect(answersQuery(query, end, message)).toBe(fits));
});

test("only names match in any case, types do not", () => {
  // 65 and 97 are an A and an a.
  const query = encodeQuery(1, wireName, 65, false);
  const other = Buffer.from(query);
  other[2] = 0x81;
  expect(answersQuery(query, query.length, other)).toBe(true);
  other[query.length - 3] = 97;
  expect(answersQuery(query, query.length, other)).toBe(false);
});

describe("records must fill their length, and are read strictly", () => {
  /** One record with this RDATA, in wire form. */
  const raw = (type: number, rdata: number[], length = rdata.length): Buffer => {
    const head = Buffer.from([0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    const record = Buffer.from([0xc0, 12, type >> 8, type & 255, 0, 1, 0, 0, 0, 60, length >> 8, length & 255, ...rdata]);
    return Buffer.concat([head, wireName, Buffer.from([type >> 8, type & 255, 0, 1]), record]);
  };
  const cases: [what: string, type: RecordType, rdata: number[], length?: number][] = [
    ["an A of 3 octets", "A", [127, 0, 0]],
    ["an A of 5 octets", "A", [127, 0, 0, 1, 9]],
    ["an AAAA of 4 octets", "AAAA", [127, 0, 0, 1]],
    ["an MX without exchange", "MX", [0, 10]],
    ["an MX with something behind its exchange", "MX", [0, 10, 0, 9]],
    ["an MX whose exchange loops", "MX", [0, 10, 0xc0, 44]],
    ["a CNAME that is longer than its record", "CNAME", [3, 97, 98, 99, 0], 3],
    ["a TXT string past its record", "TXT", [5, 97]],
    ["a TLSA of 2 octets", "TLSA", [3, 1]],
    ["a record past the end", "A", [127, 0, 0, 1], 40],
    ["an SRV past its record", "SRV", [0, 1, 0]],
  ];
  for (const [what, type, rdata, length] of cases)
    test(`${what} is malformed`, () => {
      const result = decode(raw(typeNumber(type) ?? 0, rdata, length), type);
      expect(result.ok).toBe(false);
    });

  test("a count beyond the message is malformed at once", () => {
    const message = Buffer.from([0, 1, 0x81, 0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    expect(decode(message).ok).toBe(false);
  });

  test("records of other types and classes are passed over", () => {
    const result = decode(
      response([
        { type: "A", name: "example.test", data: "127.0.0.1" },
        { type: "MX", name: "example.test", class: "CH", data: { preference: 1, exchange: "chaos.test" } },
        { type: "MX", name: "example.test", ttl: 9, data: { preference: 10, exchange: "MX.example.test" } },
      ]),
    );
    expect(result).toMatchObject({
      ok: true,
      value: { answers: [{ name: "example.test", ttl: 9, data: { preference: 10, exchange: "mx.example.test" } }] },
    });
    if (result.ok) expect(result.value.answers).toHaveLength(1);
  });

  test("a TTL with the top bit set is zero (RFC 2181 §8)", () => {
    expect(
      decode(response([{ type: "MX", name: "example.test", ttl: 0x80000001, data: { preference: 1, exchange: "a.test" } }])),
    ).toMatchObject({ value: { answers: [{ ttl: 0 }] } });
  });
});

test("every type that dns-packet knows comes out as it went in", () => {
  const samples: Answer[] = [
    { type: "SRV", name: "example.test", data: { priority: 1, weight: 2, port: 25, target: "mx.example.test" } },
    { type: "CAA", name: "example.test", data: { flags: 0, tag: "issue", value: "ca.test" } },
    { type: "DS", name: "example.test", data: { keyTag: 1, algorithm: 8, digestType: 2, digest: Buffer.from("digest") } },
    { type: "DNSKEY", name: "example.test", data: { flags: 257, algorithm: 8, key: Buffer.from("key") } },
    { type: "TLSA", name: "example.test", data: { usage: 3, selector: 1, matchingType: 1, certificate: Buffer.from("hash") } },
    { type: "SSHFP", name: "example.test", data: { algorithm: 1, hash: 1, fingerprint: "0123456789ABCDEF0123456789ABCDEF01234567" } },
    { type: "HINFO", name: "example.test", data: { cpu: "a", os: "b" } },
    { type: "PTR", name: "example.test", data: "mx.example.test" },
    { type: "NULL", name: "example.test", data: Buffer.from("x") },
    { type: "CERT", name: "example.test", data: Buffer.from("opaque") },
  ];
  for (const sample of samples) {
    if (sample.type === "OPT") continue;
    expect(decode(response([{ ...sample, ttl: 60 }], sample.type), sample.type), sample.type).toMatchObject({
      ok: true,
      value: { answers: [{ data: sample.data }] },
    });
  }
});

describe("extended errors (RFC 8914)", () => {
  const withOption = (...options: { code: number; data: Buffer }[]): Buffer =>
    response([], "MX", {
      flags: 2,
      additionals: [
        {
          type: "OPT",
          name: ".",
          udpPayloadSize: 1232,
          extendedRcode: 0,
          ednsVersion: 0,
          flags: 0,
          flag_do: false,
          options: options as never,
        },
      ],
    });
  test("code and text are read, and the text is made harmless", () => {
    const message = withOption({ code: 10, data: Buffer.alloc(8) }, { code: 15, data: Buffer.from("\0\x07expired\r\nX: \u202e") });
    expect(decode(message)).toMatchObject({ value: { rcode: 2, extendedError: { code: 7, text: "expired??X: ?" } } });
  });
  test("a text of any length stays short", () => {
    const result = decode(withOption({ code: 15, data: Buffer.concat([Buffer.from([0, 6]), Buffer.alloc(60_000, 0x61)]) }));
    expect(result.ok && result.value.extendedError?.text.length).toBe(200);
  });
  test("a broken option costs the explanation only", () => {
    const message = withOption({ code: 15, data: Buffer.from([0]) });
    expect(decode(message)).toMatchObject({ ok: true, value: { rcode: 2, extendedError: undefined } });
  });
});

/** 10,000 by default; POSTERN_TEST_SCALE=5 makes it 50,000. */
const RUNS = Math.max(1, Math.round(10_000 * Number(process.env["POSTERN_TEST_SCALE"] ?? 1)));

describe("hostile messages", () => {
  const seeds = types.map((type): Buffer => {
    const data: Partial<Record<RecordType, unknown>> = {
      A: "192.0.2.1",
      AAAA: "2001:db8::1",
      CNAME: "a.test",
      NS: "a.test",
      PTR: "a.test",
      MX: { preference: 10, exchange: "mx.test" },
      TXT: ["v=STSv1", "id=1"],
      TLSA: { usage: 3, selector: 1, matchingType: 1, certificate: Buffer.alloc(32) },
      SRV: { priority: 0, weight: 0, port: 25, target: "a.test" },
      SOA: { mname: "a.test", rname: "b.test", serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 1 },
    };
    const known = data[type];
    const record =
      known === undefined
        ? ({ type: "NULL", name: "example.test", data: Buffer.alloc(30, 3) } as const)
        : ({ type, name: "example.test", ttl: 60, data: known } as Answer);
    const soa = { type: "SOA", name: "test", ttl: 60, data: { mname: "ns.test", rname: "admin.test", minimum: 60 } } as const;
    const opt = {
      type: "OPT",
      name: ".",
      udpPayloadSize: 1232,
      extendedRcode: 0,
      ednsVersion: 0,
      flags: 0,
      flag_do: true,
      options: [{ code: 15, data: Buffer.from("\0\x06bogus") }] as never,
    } as const;
    const message = response([record, record], type, { authorities: [soa], additionals: [opt] });
    // For types without a sample: the same octets under the type's own number, so that its decoder meets nonsense.
    if (known === undefined)
      for (let at = 30; at < message.length - 1; at++)
        if (message.readUInt16BE(at) === 10 && message[at + 3] === 1) message.writeUInt16BE(typeNumber(type) ?? 10, at);
    return message;
  });

  // What the decoder lets through, the reader of answers must survive too.
  const never = (message: Buffer, types: readonly RecordType[] = ["MX", "AAAA", "TXT"]): void => {
    for (const type of types) {
      const number = typeNumber(type) ?? 0;
      const decoded = decode(message, type);
      if (decoded.ok) readAnswer(decoded.value, "example.test", number, new Set());
    }
  };

  test("random octets are never more than malformed", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (octets) => never(Buffer.from(octets))),
      { numRuns: RUNS },
    );
  });

  test("changed messages of every type are never more than malformed", () => {
    const edit = fc.tuple(fc.nat(), fc.constantFrom(0, 0xc0, 0xff, 1, 12, 63, 64), fc.boolean());
    fc.assert(
      fc.property(
        fc.nat(seeds.length - 1),
        fc.array(edit, { minLength: 1, maxLength: 6 }),
        fc.option(fc.nat(), { nil: undefined }),
        (index, edits, cut) => {
          const message = Buffer.from(seeds[index] ?? Buffer.alloc(0));
          for (const [at, octet, flip] of edits) {
            const place = at % message.length;
            message[place] = flip ? (message[place] ?? 0) ^ (1 << (octet & 7)) : octet;
          }
          never(cut === undefined ? message : message.subarray(0, cut % message.length), [types[index] ?? "MX"]);
        },
      ),
      { numRuns: RUNS },
    );
  });

  test("changed octets never turn a question that was not ours into an answer", () => {
    const query = encodeQuery(1, wireName, 15, true);
    const end = 12 + wireName.length + 4;
    fc.assert(
      fc.property(fc.integer({ min: 12, max: end - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const message = response([]);
        message[at] = (message[at] ?? 0) ^ flip;
        const sameButForCase = flip === 0x20 && at < end - 4 && /[a-z]/i.test(String.fromCharCode(message[at] ?? 0));
        expect(answersQuery(query, end, message)).toBe(sameButForCase);
      }),
      { numRuns: Math.ceil(RUNS / 10) },
    );
  });

  test("the largest message of pointers is read in bounded time and steps", () => {
    // Every record's name is the longest chain that is allowed; 4,000 of them fill 64 KB.
    const start = 12 + 11;
    const chain = Buffer.alloc(252);
    for (let link = 1; link < 126; link++) chain.writeUInt16BE(0xc000 | (start + 2 * (link - 1)), 2 * link);
    const last = 0xc000 | (start + 250);
    const head = Buffer.from([0, 1, 0x81, 0x80, 0, 0, 0x0f, 0xa0, 0, 0, 0, 0]);
    const first = Buffer.from([0, 0, 10, 0, 1, 0, 0, 0, 0, 0, chain.length]);
    const record = Buffer.from([last >> 8, last & 255, 0, 10, 0, 1, 0, 0, 0, 0, 0, 0]);
    const message = Buffer.concat([head, first, chain, ...Array.from({ length: 3999 }, () => record)]);
    expect(decode(message).ok).toBe(true);
  });
});
