/** Octets as they may be cut by the network: the reading must not depend on where a segment ends. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { GuardedStream, LONGEST_LINE } from "../../src/submission/guarded-stream.ts";
import { LineCheck, mendLineEnds } from "../../src/submission/lines.ts";

interface Heard {
  readonly lines: string[];
  readonly flaws: string[];
  /** One for each message that ended. */
  readonly messages: string[];
  unfinished: string | undefined;
}

/** Feeds segments to a parser; every line `DATA` starts a message. */
async function feed(segments: readonly Buffer[], pauses = false): Promise<Heard> {
  const heard: Heard = { lines: [], flaws: [], messages: [], unfinished: undefined };
  const stream = new GuardedStream();
  stream.online = (line, done) => {
    heard.lines.push(line.toString("latin1"));
    if (line.toString("latin1") === "DATA") {
      heard.unfinished = "";
      stream.receiveData({
        take(octets) {
          heard.unfinished += octets.toString("latin1");
          return pauses ? new Promise((resolve) => setImmediate(resolve)) : undefined;
        },
        end(octets, finished) {
          heard.messages.push(heard.unfinished + octets.toString("latin1"));
          heard.unfinished = undefined;
          if (pauses) setImmediate(finished);
          else finished();
        },
      });
    }
    done();
  };
  stream.onflaw = (flaw, done) => {
    heard.flaws.push(flaw);
    done();
  };
  // A fresh buffer each, as from a socket: the parser moves octets in place.
  for (const segment of segments) await new Promise<void>((resolve) => stream.write(Buffer.from(segment), () => resolve()));
  return heard;
}

const whole = (text: string) => feed([Buffer.from(text, "latin1")]);
const singly = (text: string) => feed([...Buffer.from(text, "latin1")].map((octet) => Buffer.from([octet])));

/** RFC 5321 §4.5.2, in the plainest words: up to CRLF.CRLF, a dot off every other line that begins with one. */
function reference(text: string): { message: string; rest: string } | undefined {
  const lined = `\r\n${text}`;
  const end = lined.indexOf("\r\n.\r\n");
  if (end < 0) return undefined;
  return {
    message: lined
      .slice(0, end + 2)
      .replaceAll("\r\n.", "\r\n")
      .slice(2),
    rest: lined.slice(end + 5),
  };
}

describe("the end of a message", () => {
  const smuggled = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r\n.\r",
    "\r.\r\n",
    "\r\n\0.\r\n",
    "\n\r.\r\n",
    "\r\n.\r\r\n",
    "\r\n..\r\n",
    "\r\n .\r\n",
  ];
  for (const sequence of smuggled)
    test(`${JSON.stringify(sequence)} is not it`, async () => {
      const text = `DATA\r\nA: b\r\n\r\nbody${sequence}MAIL FROM:<evil@x.test>\r\nRCPT TO:<y@x.test>\r\n.\r\nNOOP\r\n`;
      for (const heard of [await whole(text), await singly(text)]) {
        expect(heard.lines).toEqual(["DATA", "NOOP"]);
        expect(heard.messages).toHaveLength(1);
        expect(heard.messages[0]).toContain("MAIL FROM:<evil@x.test>");
      }
    });

  test.each([
    [".\r\n", ""],
    ["..\r\n.\r\n", ".\r\n"],
    ["a\r\n..\r\n.\r\n", "a\r\n.\r\n"],
    ["a\r\n.b\r\n.\r\n", "a\r\nb\r\n"],
    ["a\r\n...\r\n.\r\n", "a\r\n..\r\n"],
    ["a\n..\r\n.\r\n", "a\n..\r\n"], // a bare LF begins no line, so its dots are text
    ["a\r\n.\rb\r\n.\r\n", "a\r\n\rb\r\n"],
    ["a\r\n.\r\r\n.\r\n", "a\r\n\r\r\n"],
    ["\r\n\r\n.\r\n", "\r\n\r\n"],
  ])("%j carries %j", async (sent, message) => {
    for (const heard of [await whole(`DATA\r\n${sent}NOOP\r\n`), await singly(`DATA\r\n${sent}NOOP\r\n`)]) {
      expect(heard.messages).toEqual([message]);
      expect(heard.lines).toEqual(["DATA", "NOOP"]);
    }
  });

  test("however the octets are cut, they are read as RFC 5321 §4.5.2 says", async () => {
    const piece = fc.constantFrom("\r", "\n", ".", "\r\n", "\r\n.", "a", "..", "\r\n.\r\n", "NOOP\r\n", "\0");
    await fc.assert(
      fc.asyncProperty(
        fc.array(piece, { maxLength: 25 }),
        fc.array(fc.nat(60), { maxLength: 8 }),
        fc.boolean(),
        async (pieces, cuts, pauses) => {
          const text = pieces.join("");
          const octets = Buffer.from(`DATA\r\n${text}`, "latin1");
          const places = [0, ...cuts.filter((cut) => cut < octets.length).sort((a, b) => a - b), octets.length];
          const segments = places
            .slice(1)
            .map((to, at) => octets.subarray(places[at] ?? 0, to))
            .filter((segment) => segment.length > 0);
          const heard = await feed(segments, pauses);
          const expected = reference(text);
          if (expected === undefined) expect(heard.messages).toEqual([]);
          else expect(heard.messages[0]).toBe(expected.message);
        },
      ),
      { numRuns: 1500 },
    );
  });
});

describe("command lines", () => {
  test("only CRLF ends one: what a bare LF follows belongs to the same line, told of once", async () => {
    for (const heard of [
      await whole("NOOP\nMAIL FROM:<x@y.test>\nRSET\r\nQUIT\r\n"),
      await singly("NOOP\nMAIL FROM:<x@y.test>\nRSET\r\nQUIT\r\n"),
    ]) {
      expect(heard.flaws).toEqual(["bare-lf"]);
      expect(heard.lines).toEqual(["QUIT"]);
    }
  });

  test("a bare CR stays in the line", async () => expect((await singly("NO\rOP\r\n")).lines).toEqual(["NO\rOP"]));

  test("a line at the limit is taken, a longer one is skipped to its end", async () => {
    const longest = "x".repeat(LONGEST_LINE);
    const text = `${longest}\r\n${longest}y\r\n${"z".repeat(50_000)}\r\nNOOP\r\n`;
    const cut = Buffer.from(text, "latin1");
    const segments = Array.from({ length: Math.ceil(cut.length / 1000) }, (_, at) => cut.subarray(at * 1000, at * 1000 + 1000));
    for (const heard of [await whole(text), await feed(segments)]) {
      expect(heard.lines).toEqual([longest, "NOOP"]);
      expect(heard.flaws).toEqual(["too-long", "too-long"]);
    }
  });

  test("an LF inside a line that is being skipped does not end it", async () => {
    const heard = await feed([Buffer.from(`${"x".repeat(20_000)}\n`), Buffer.from("MAIL FROM:<a@b.test>\r\nNOOP\r\n")]);
    expect(heard).toMatchObject({ lines: ["NOOP"], flaws: ["too-long"] });
  });

  test("a closed parser runs nothing that is left", async () => {
    const stream = new GuardedStream();
    const lines: string[] = [];
    stream.online = (line, done) => {
      lines.push(line.toString());
      stream.isClosed = true;
      done();
    };
    await new Promise<void>((resolve) => stream.write(Buffer.from("STARTTLS\r\nMAIL FROM:<x@y.test>\r\n"), () => resolve()));
    expect(lines).toEqual(["STARTTLS"]);
  });

  test("thousands of pipelined commands let others have their turn", async () => {
    const stream = new GuardedStream();
    let turns = 0;
    let done_ = false;
    stream.online = (_line, done) => done();
    const count = () => {
      turns += 1;
      if (!done_) setImmediate(count);
    };
    setImmediate(count);
    await new Promise<void>((resolve) => stream.write(Buffer.from("NOOP\r\n".repeat(5000)), () => resolve()));
    done_ = true;
    expect(turns).toBeGreaterThan(20);
  });
});

describe("line ends and lengths", () => {
  test.each([
    ["a\r\nb\r\n", { nul: false, bareLineEnd: false, longLine: false }],
    ["a\nb", { nul: false, bareLineEnd: true, longLine: false }],
    ["a\rb", { nul: false, bareLineEnd: true, longLine: false }],
    ["\r\r\n", { nul: false, bareLineEnd: true, longLine: false }],
    ["\n\r\n", { nul: false, bareLineEnd: true, longLine: false }],
    ["a\0b", { nul: true, bareLineEnd: false, longLine: false }],
    [`${"x".repeat(998)}\r\n`, { nul: false, bareLineEnd: false, longLine: false }],
    [`${"x".repeat(999)}\r\n`, { nul: false, bareLineEnd: false, longLine: true }],
    ["x".repeat(999), { nul: false, bareLineEnd: false, longLine: true }],
    [`${"x".repeat(998)}\r\n${"y".repeat(998)}`, { nul: false, bareLineEnd: false, longLine: false }],
  ])("%j", (text, flaws) => expect(new LineCheck().read(Buffer.from(text, "latin1"))).toEqual(flaws));

  test("a line is measured across pieces", () => {
    const check = new LineCheck();
    expect(check.read(Buffer.from("x".repeat(600))).longLine).toBe(false);
    expect(check.read(Buffer.from("x".repeat(398))).longLine).toBe(false);
    expect(check.read(Buffer.from("x\r\n")).longLine).toBe(true);
  });

  test.each([
    ["a\nb", "a\r\nb"],
    ["a\rb", "a b"],
    ["a\r\nb", "a\r\nb"],
    ["\r\r\n", " \r\n"],
    ["\n\n", "\r\n\r\n"],
    ["\n\r\n", "\r\n\r\n"],
    ["Subject: x\rBcc: y\r\n", "Subject: x Bcc: y\r\n"],
  ])("%j becomes %j", (text, mended) => expect(mendLineEnds(Buffer.from(text, "latin1")).toString("latin1")).toBe(mended));

  test("what was mended has no bare line end left, whatever it was", () => {
    const octets = fc.array(fc.constantFrom("\r", "\n", "\r\n", "a", "."), { maxLength: 40 }).map((pieces) => Buffer.from(pieces.join("")));
    fc.assert(fc.property(octets, (text) => !new LineCheck().read(mendLineEnds(text)).bareLineEnd));
  });
});
