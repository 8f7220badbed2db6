import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { anonymise, jsonFields, levelOf, maskAddress, maskText, openLog, plainLine } from "../../src/cli/log.ts";
import type { PosternEvent } from "../../src/events.ts";
import { accepted } from "./examples.ts";

const NEXT = Date.parse("2026-09-02T10:31:40Z");
const deferred: PosternEvent = {
  kind: "recipient-settled",
  demanded: "authenticated (tls.floor of this relay)",
  id: "0KF3V7Q2M9",
  recipient: "jo@example.org",
  outcome: "deferred",
  relay: "mx1.example.org[203.0.113.5]:25",
  delay: 7_800_400,
  delays: [10, 0, 204, 0],
  status: "4.7.5",
  text: "certificate ended 2026-08-30 11:02 UTC",
  reason: "certificate-expired",
  whoActs: "receiver",
  nextAttempt: NEXT,
  attempt: 4,
};
const sent: PosternEvent = {
  kind: "recipient-settled",
  demanded: "authenticated (tls.floor of this relay)",
  id: "0KF3V7Q2M9",
  recipient: "jo@example.org",
  outcome: "delivered",
  relay: "mx1.example.org[203.0.113.5]:25",
  delay: 352,
  delays: [8, 0, 201, 143],
  status: "2.0.0",
  text: "250 2.0.0 Ok: queued as 4XcB7k2Jm9z1",
  tls: "authenticated TLSv1.3 TLS_AES_256_GCM_SHA384",
  attempt: 1,
};
const lines: [string, PosternEvent, string][] = [
  [
    "deferred",
    deferred,
    "0KF3V7Q2M9: to=<jo@example.org>, relay=mx1.example.org[203.0.113.5]:25, delay=7800, delays=0.01/0/0.2/0, dsn=4.7.5, status=deferred (certificate-expired: certificate ended 2026-08-30 11:02 UTC; who acts: receiver; next 10:31:40)",
  ],
  [
    "sent",
    sent,
    "0KF3V7Q2M9: to=<jo@example.org>, relay=mx1.example.org[203.0.113.5]:25, delay=0.35, delays=0.01/0/0.2/0.14, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4XcB7k2Jm9z1) [authenticated TLSv1.3 TLS_AES_256_GCM_SHA384]",
  ],
  [
    "accepted",
    accepted,
    "0KF3V7Q2M9: client=172.20.0.4, from=<app@example.com>, size=14310, nrcpt=1, listener=smtp, message-id=<a1@example.com>",
  ],
  [
    "login failed",
    { kind: "login-failed", listener: "submission", client: "203.0.113.9", user: "alice", failures: 10, bannedUntil: NEXT },
    "warning: 203.0.113.9: SASL login authentication failed, sasl_username=alice, failures=10, listener=submission; banned until 10:31:40",
  ],
  [
    "rejected",
    {
      kind: "command-rejected",
      listener: "smtp",
      client: "172.20.0.4",
      command: "MAIL",
      argument: "<a@shop.example>",
      reply: "550 5.7.1 sender domain shop.example is not allowed",
    },
    "NOQUEUE: reject: MAIL from 172.20.0.4: 550 5.7.1 sender domain shop.example is not allowed; <a@shop.example>, listener=smtp",
  ],
  ["notice", { kind: "notice", level: "warn", text: "mailname is not set" }, "warning: mailname is not set"],
  [
    "destination down",
    { kind: "destination-down", nextHop: "big.example", until: NEXT, reason: "connect-failed", detail: "timed out", postponed: 1199 },
    "warning: big.example is left alone until 10:31:40: connect-failed: timed out; 1199 more wait with it",
  ],
];

lines.push(
  [
    "MTA-STS policy, the first",
    { kind: "policy-changed", policyDomain: "example.org", to: { mode: "testing", id: "1" } },
    "MTA-STS policy of example.org: mode testing, id 1",
  ],
  [
    "MTA-STS policy, weaker than before",
    { kind: "policy-changed", policyDomain: "example.org", from: { mode: "enforce", id: "1" }, to: { mode: "none", id: "2" } },
    "warning: MTA-STS policy of example.org: mode none, id 2, before it was enforce, id 1",
  ],
  [
    "MTA-STS policy, not to be had any more",
    {
      kind: "policy-refresh-failed",
      policyDomain: "example.org",
      mode: "enforce",
      failures: 3,
      expires: Date.parse("2026-09-08T10:02:40Z"),
      reason: "sts-policy-fetch-error",
      detail: "mta-sts.example.org: it answered 404",
    },
    "warning: MTA-STS policy of example.org could not be fetched again (3 times): sts-policy-fetch-error: mta-sts.example.org: it answered 404; mode enforce is kept until 2026-09-08 10:02 UTC",
  ],
);

lines.push([
  "destination down, nobody behind",
  { kind: "destination-down", nextHop: "big.example", until: NEXT, reason: "connect-failed", detail: "timed out", postponed: 0 },
  "warning: big.example is left alone until 10:31:40: connect-failed: timed out",
]);

describe("lines for people", () => {
  for (const [name, event, line] of lines) test(name, () => expect(plainLine(event)).toBe(line));

  test("a start refused in our own words names no line of the program, an unexpected error does", () => {
    const refused = new Error("the queue in /data is in use by process 7");
    expect(plainLine({ kind: "fault", where: "start", error: refused })).toBe("error: start: the queue in /data is in use by process 7");
    expect(plainLine({ kind: "fault", where: "start", error: new TypeError("x is not a function") })).toMatch(/ \(at /);
  });

  test("a fault tells its causes on one line", () => {
    const error = new Error("entry 7 was leased twice", { cause: new Error("line one\nline two") });
    expect(plainLine({ kind: "fault", where: "worker", error })).toMatch(
      /^error: worker: entry 7 was leased twice: line one \/ line two \(at /,
    );
  });
});

describe("masking", () => {
  const addresses: [string, string][] = [
    ["jo@example.org", "*@example.org"],
    ['"a@b c"@example.org', "*@example.org"],
    ["", ""],
    ["alice", "alice"],
  ];
  for (const [from, to] of addresses) test(`address ${JSON.stringify(from)}`, () => expect(maskAddress(from)).toBe(to));
  const texts: [string, string][] = [
    ["550 5.1.1 <jo.doe+x@example.org>: no such user", "550 5.1.1 <*@example.org>: no such user"],
    ['550 "jo doe"@example.org unknown', "550 *@example.org unknown"],
    ["550 RCPT TO:jo@[192.0.2.1] refused", "550 RCPT TO:*@[192.0.2.1] refused"],
    ["550 jürgen@bücher.example", "550 *@bücher.example"],
    ["450 greylisted", "450 greylisted"],
    ["meet @ noon", "meet @ noon"],
  ];
  for (const [from, to] of texts) test(`text ${from}`, () => expect(maskText(from)).toBe(to));

  test("no event lets a local part through", () => {
    const events: PosternEvent[] = [
      accepted,
      { ...accepted, messageId: "<x@id.example>", user: "secret@example.com", sender: "secret@example.com" },
      { ...deferred, recipient: "secret@example.org", text: "550 <secret@example.org> unknown" },
      {
        kind: "command-rejected",
        listener: "smtp",
        client: "c",
        user: "secret@x.example",
        command: "RCPT",
        argument: "<secret@x.example>",
        reply: "550 secret@x.example",
      },
      { kind: "login-failed", listener: "smtp", client: "c", user: "secret@x.example", failures: 1 },
      { kind: "login-succeeded", listener: "smtp", client: "c", user: "secret@x.example" },
      { kind: "client-refused", listener: "smtp", client: "c", reason: "r", detail: "secret@x.example" },
      { kind: "destination-down", nextHop: "x.example", until: 1, reason: "rejected", detail: "550 secret@x.example", postponed: 0 },
      { kind: "notice-enqueued", id: "1", about: "2", to: "secret@x.example", action: "failed" },
      { kind: "notice-suppressed", about: "2", why: "to secret@x.example" },
    ];
    for (const event of events) {
      expect(plainLine(anonymise(event))).not.toContain("secret");
      expect(JSON.stringify(jsonFields(anonymise(event)))).not.toContain("secret");
    }
  });
});

describe("the writer", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "postern-log-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function written(settings: Parameters<typeof openLog>[0], events: PosternEvent[], isTerminal = false): string {
    const to = join(folder, "log");
    const log = openLog(settings, { to: openSync(to, "a"), isTerminal, now: () => NEXT });
    for (const event of events) log.emit(event);
    log.close();
    return readFileSync(to, "utf8");
  }

  test("the same fault each second is one line a minute, with a count; another is told at once", () => {
    for (const format of ["plain", "json"] as const) {
      const to = join(folder, format);
      let now = NEXT;
      const log = openLog({ format, level: "info", anonymise: false }, { to: openSync(to, "a"), isTerminal: false, now: () => now });
      for (let second = 0; second < 61; second++) {
        log.emit({ kind: "fault", where: "refill", error: new Error("database disk image is malformed") });
        if (second === 5) log.emit({ kind: "fault", where: "refill", error: new Error("disk I/O error") });
        now += 1000;
      }
      log.close();
      const text = readFileSync(to, "utf8").trimEnd().split("\n");
      expect(text).toHaveLength(3);
      expect(text[1]).toContain("disk I/O error");
      expect(text[2]).toMatch(format === "plain" ? /malformed \(at .*\); 59 times more since this was last told$/ : /"missed":59}$/);
    }
  });

  test("a reload's level, format and masking hold for what comes next", () => {
    const to = join(folder, "log");
    const log = openLog({ format: "json", level: "warn", anonymise: false }, { to: openSync(to, "a"), isTerminal: false, now: () => NEXT });
    log.emit(accepted);
    log.configure({ format: "plain", level: "info", anonymise: true });
    log.emit(accepted);
    log.close();
    expect(readFileSync(to, "utf8")).toMatch(/^2026-\S+ 0KF3V7Q2M9: client=172\.20\.0\.4, from=<\*@example\.com>, .*\n$/);
  });

  test("JSON: one object a line, with level, time and the event's facts", () => {
    const text = written({ format: "auto", level: "info", anonymise: false }, [accepted, deferred]);
    const [first, second, ...rest] = text.split("\n");
    expect(JSON.parse(first ?? "")).toEqual({
      level: "info",
      time: "2026-09-02T10:31:40.000Z",
      event: "message-accepted",
      id: "0KF3V7Q2M9",
      listener: "smtp",
      client: "172.20.0.4",
      sender: "app@example.com",
      recipients: 1,
      size: 14_310,
      messageId: "<a1@example.com>",
    });
    expect(JSON.parse(second ?? "")).toMatchObject({
      event: "recipient-settled",
      outcome: "deferred",
      reason: "certificate-expired",
      nextAttempt: "2026-09-02T10:31:40.000Z",
    });
    expect(rest).toEqual([""]);
  });

  test("auto is plain on a terminal", () => {
    const text = written({ format: "auto", level: "info", anonymise: false }, [accepted], true);
    expect(text).toBe(`2026-09-02T10:31:40.000Z ${plainLine(accepted)}\n`);
  });

  test("levels leave out what is less", () => {
    const warning: PosternEvent = { kind: "notice", level: "warn", text: "look" };
    const text = written({ format: "plain", level: "warn", anonymise: false }, [accepted, warning]);
    expect(text).toBe("2026-09-02T10:31:40.000Z warning: look\n");
    expect([levelOf(accepted), levelOf(warning), levelOf({ kind: "fault", where: "x", error: new Error("y") })]).toEqual([
      "info",
      "warn",
      "error",
    ]);
  });

  test("a fault's stack is in JSON, where it breaks no line", () => {
    const text = written({ format: "json", level: "info", anonymise: false }, [
      { kind: "fault", where: "worker", error: new Error("boom") },
    ]);
    const line = JSON.parse(text) as { error: string; stack: string };
    expect(line.error).toMatch(/^boom/);
    expect(line.stack).toContain("log.test.ts");
  });

  test("everything said before close is written, however much", async () => {
    written(
      { format: "plain", level: "info", anonymise: false },
      Array.from({ length: 5000 }, () => accepted),
    );
    // A write that was under way at the close ends a moment later.
    await expect.poll(() => readFileSync(join(folder, "log"), "utf8").split("\n").length).toBe(5001);
  });
});
