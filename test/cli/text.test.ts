import { advise } from "../../src/admin/advice.ts";
import { describe, expect, test } from "vitest";
import { describeState, renderList, renderMailq, renderSummary } from "../../src/cli/list-text.ts";
import { commandHere } from "../../src/cli/assembly.ts";
import type { GlobalOptions } from "../../src/cli/shared.ts";
import { renderStart } from "../../src/cli/start-text.ts";
import { renderWhy } from "../../src/cli/why-text.ts";
import { describeSize, describeSpan, renderJson, renderTable, wrapText } from "../../src/cli/words.ts";
import type { EmailAddress } from "../../src/mail/address.ts";
import type { NextHop } from "../../src/mail/domain.ts";
import type { EntryStory } from "../../src/admin/handlers.ts";
import { active, entryStory, expiredProblem, greylistedEntry, list, NOW, story, summary, waiting } from "./story.ts";

const HINTS = { hasCertificate: false, command: "npx postern" };

describe("spans and sizes", () => {
  const spans: [number, string][] = [
    [0, "0s"],
    [41_000, "41s"],
    [59_600, "1m"],
    [5 * 60_000, "5m"],
    [7_800_000, "2h 10m"],
    [7_200_000, "2h"],
    [51 * 3_600_000, "2d 3h"],
    [48 * 3_600_000, "2d"],
    [-5, "0s"],
  ];
  for (const [ms, text] of spans) test(`${ms} ms is ${text}`, () => expect(describeSpan(ms)).toBe(text));
  const sizes: [number, string][] = [
    [410, "410 B"],
    [14_310, "14 KB"],
    [2_200_000, "2.1 MB"],
    [3 * 1024 ** 3, "3.0 GB"],
  ];
  for (const [octets, text] of sizes) test(`${octets} octets are ${text}`, () => expect(describeSize(octets)).toBe(text));
});

describe("tables", () => {
  test("columns line up, cells wrap, no line ends in blanks", () => {
    const text = renderTable(
      [{ title: "A" }, { title: "N", align: "right" }, { title: "TEXT", wrap: 10 }],
      [
        ["long name", "7", "one two three four"],
        ["b", "1000", ""],
      ],
    );
    expect(text).toBe(
      ["A             N  TEXT", "long name     7  one two", "                 three four", "b          1000", ""].join("\n"),
    );
  });
  test("wrapping ends in an ellipsis, never in an endless cell", () => {
    expect(wrapText("x".repeat(100), 10)).toEqual(["x".repeat(10), "x".repeat(10), `${"x".repeat(9)}…`]);
  });
});

describe("queue ls", () => {
  test("says state, wait, reason and who acts of each entry", () => {
    const lines = renderList(list, NOW).split("\n");
    expect(lines[1]).toMatch(
      /^0KF3V7Q2M9 {2}deferred {2}2h 10m {2}14 KB {6}4 {2}in 40m {2}app@example.com {2}jo@example.org {7}certificate-expired: .* receiver$/,
    );
    expect(lines[2]).toContain("ada@univ.example +1");
    expect(lines[3]).toMatch(/active .* <> /);
  });
  test("says how to go on, and that nothing matches", () => {
    expect(renderList({ entries: [waiting], next: "abc" }, NOW)).toMatch(/\nMore: add --after abc\n$/);
    expect(renderList({ entries: [] }, NOW)).toBe("No message matches.\n");
  });
  test("an entry is waiting until its first failure, then deferred; a finished one says how it ended", () => {
    const { problem: _problem, ...fresh } = { ...waiting, attempts: 0 };
    expect(describeState(fresh)).toBe("waiting");
    expect(describeState(waiting)).toBe("deferred");
    expect(describeState(active)).toBe("active");
    expect(describeState({ ...waiting, state: "finished", recipients: [{ address: "a@b.test" as EmailAddress, state: "expired" }] })).toBe(
      "expired",
    );
    expect(describeState({ ...greylistedEntry, state: "finished" })).toBe("finished");
  });
});

describe("queue summary", () => {
  test("one line of totals, one row a destination", () => {
    const lines = renderSummary(summary).split("\n");
    expect(lines[0]).toBe("1830 waiting, 12 active.  Oldest 2d 3h.  Next try in 41s.");
    expect(lines[1]).toMatch(/^DESTINATION +MSGS +OLDEST +<5m +<20m +<80m +<5h +<21h +>21h +MOST COMMON REASON +WHO ACTS$/);
    expect(lines[4]).toMatch(/^example\.org +610 +2d 3h +2 +8 +40 +90 +120 +350 +certificate-expired: .* +receiver$/);
  });
  test("an empty queue", () => {
    expect(renderSummary({ now: NOW, totals: { waiting: 0, active: 0 }, destinations: [], reasons: [] })).toBe("The queue is empty.\n");
  });
});

describe("queue why", () => {
  const card = renderWhy(story, { all: false });
  const rows: [label: string, text: RegExp][] = [
    ["state", /deferred since 08:14:09 \(2h 10m\); 4 tries; next 11:04:40 \(in 40m\); bounces to the sender 2026-09-07 08:14 UTC/],
    ["reason", /certificate-expired \(4\.7\.5\)/],
    ["said by", /this relay: it refused the connection, example\.org has not seen the message/],
    ["demanded", /authenticated \(tls\.floor of this relay\)/],
    ["evidence", /mx1\.example\.org \[203\.0\.113\.5\] {2}failed at handshake/],
    ["who acts", /example\.org: renew the certificate on mx1\.example\.org/],
    ["meanwhile", /tls: \{ domains: \{ example\.org: \{ floor: encrypted \} \} \}/],
    ["read", /docs\/reasons\.md#certificate-expired/],
  ];
  for (const [label, text] of rows)
    test(label, () => expect(card.split("\n").find((line) => line.startsWith(label.padEnd(10)))).toMatch(text));

  test("the certificate is told: names, dates, issuer, key, fingerprint", () => {
    expect(card).toMatch(/TLSv1\.3 TLS_AES_256_GCM_SHA384/);
    expect(card).toMatch(/certificate for mx1\.example\.org; 2026-06-01 11:02 UTC to 2026-08-30 11:02 UTC; issuer CN=R11.*EC prime256v1/);
    expect(card).toMatch(/sha256 9f2c41d0/);
  });
  test("all attempts on request, unchanged evidence once", () => {
    const all = renderWhy(story, { all: true });
    expect(all.match(/^ {11}\d\. |^attempts +1\. /gm)).toHaveLength(4);
    expect(all.match(/hosts and evidence as before/g)).toHaveLength(3);
  });

  const said: [string, Partial<EntryStory>, RegExp][] = [
    [
      "a host that refused",
      { problem: { ...expiredProblem, type: "rejected", reply: { code: 550, lines: ["5.1.1 no such user"] } } },
      /said by {4}mx1\.example\.org: 550 5\.1\.1 no such user/,
    ],
    ["an outcome nobody knows", { problem: { ...expiredProblem, type: "outcome-unknown" } }, /said by {4}nobody: .* it may have it/],
    ["no attempt of its own", { problem: { ...expiredProblem, type: "destination-waiting" } }, /said by {4}this relay did not try it/],
    [
      "another message's failure, shown by one that waits with it",
      { attemptRecords: [], attempts: 0 },
      /said by {4}this relay did not try it: another message had just failed there\n/,
    ],
    [
      "no question answered",
      {
        problem: { type: "dns-failure", detail: "SERVFAIL", whoActs: "nobody", status: "4.4.3" },
        attemptRecords: [{ startedAt: NOW, endedAt: NOW, demanded: "authenticated", hosts: [] }],
      },
      /said by {4}this relay: it did not connect/,
    ],
  ];
  for (const [name, change, text] of said)
    test(`said by: ${name}`, () => expect(renderWhy({ ...story, entries: [{ ...entryStory, ...change }] }, { all: false })).toMatch(text));

  test("who took it, with the reply that names its id there", () => {
    const outcome = { kind: "delivered", host: "mx1.example.org", reply: { code: 250, lines: ["2.0.0 Ok: queued as 8DA5"] } } as const;
    const recipients = [{ address: "jo@example.org" as EmailAddress, state: "delivered" as const, outcome }];
    const card = (entry: Partial<EntryStory>) => renderWhy({ ...story, entries: [{ ...entryStory, ...entry }] }, { all: false });
    expect(card({ recipients })).toMatch(/^taken by {3}mx1\.example\.org: 250 2\.0\.0 Ok: queued as 8DA5$/m);
    const other = { kind: "delivered", host: "mx1.example.org", reply: { code: 250, lines: ["2.0.0 Ok: queued as 9FB6"] } } as const;
    const two = card({ recipients: [...recipients, { address: "al@example.org" as EmailAddress, state: "delivered", outcome: other }] });
    expect(two).toMatch(/queued as 8DA5 {3}\(jo@example\.org\)\n.*queued as 9FB6 {3}\(al@example\.org\)\n/);
    expect(card({})).not.toContain("taken by");
  });

  test("an EHLO name that only repeats the address is left out", () => {
    const { message } = story;
    if (message === undefined) throw new Error("the story has a message");
    const { user: _user, ...origin } = { ...message.origin, clientAddress: "127.0.0.1", ehloName: "[127.0.0.1]" };
    expect(renderWhy({ ...story, message: { ...message, origin } }, { all: false })).toContain(" by 127.0.0.1, in clear ");
  });

  test("a delivered message keeps its evidence and needs nobody", () => {
    const { problem: _problem, advice: _advice, ...rest } = entryStory;
    const done = renderWhy(
      {
        ...story,
        entries: [{ ...rest, state: "finished", recipients: [{ address: "jo@example.org" as EmailAddress, state: "delivered" }] }],
      },
      { all: false },
    );
    expect(done).toMatch(/state {6}delivered at 2026-09-02 09:04:40 UTC \(after 50m\); 4 tries/);
    expect(done).not.toContain("who acts");
  });
});

describe("mailq", () => {
  test("is laid out like postqueue -p", () => {
    const lines = renderMailq(list.entries).split("\n");
    expect(lines[0]).toBe("-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------");
    // Eleven columns of id and mark, seven of size, twenty of time: what scripts cut at.
    expect(lines[1]).toMatch(/^0KF3V7Q2M9 {2} {2}14310 \w{3} Sep {2}2 \d\d:\d\d:\d\d {2}app@example\.com$/);
    expect(lines[2]?.trim()).toBe("(certificate-expired: certificate ended 2026-08-30 11:02 UTC)");
    expect(lines[3]).toBe(`${" ".repeat(41)}jo@example.org`);
    expect(lines.find((line) => line.startsWith("0KF45M03ZA"))).toMatch(/^0KF45M03ZA\* {4}3400 .* MAILER-DAEMON$/);
    expect(lines.at(-2)).toBe("-- 19 Kbytes in 3 Requests.");
  });
  test("delivered recipients are no longer in the queue", () => {
    expect(renderMailq([greylistedEntry])).not.toContain("bo@univ.example");
  });
  test("entries of one message are one request", () => {
    const other = {
      ...waiting,
      nextHop: "example.net" as NextHop,
      recipients: [{ address: "al@example.net" as EmailAddress, state: "waiting" as const }],
    };
    const text = renderMailq([waiting, other]);
    expect(text.match(/0KF3V7Q2M9/g)).toHaveLength(1);
    expect(text).toContain("in 1 Request.");
  });
  test("nothing", () => expect(renderMailq([])).toBe("Mail queue is empty\n"));
});

describe("a stranger's text on a terminal", () => {
  const EVIL = "\u001b]0;owned\u0007\u009b2J\u202egnp.exe\r\n";
  const problem = { ...expiredProblem, type: "rejected" as const, detail: EVIL, host: `mx${EVIL}`, reply: { code: 550, lines: [EVIL] } };
  const evilEntry: EntryStory = {
    ...entryStory,
    sender: `a${EVIL}@x.test` as EmailAddress,
    recipients: [{ address: `b${EVIL}@x.test` as EmailAddress, state: "waiting" }],
    nextHop: `x${EVIL}.test` as NextHop,
    problem,
    advice: advise({ ...problem, type: "certificate-expired" }, { nextHop: EVIL, waits: true, demanded: `x (delivery.${EVIL})` }),
    attemptRecords: entryStory.attemptRecords.map((attempt) => ({
      ...attempt,
      demanded: EVIL,
      problem,
      hosts: attempt.hosts.map((host) => ({ ...host, host: EVIL, address: EVIL, problem })),
    })),
  };
  const evilStory = {
    ...story,
    message: story.message && {
      ...story.message,
      messageId: EVIL,
      origin: { ...story.message.origin, ehloName: EVIL, clientAddress: EVIL, tls: EVIL },
    },
    entries: [evilEntry],
  } as typeof story;
  const outputs: [string, string][] = [
    ["ls", renderList({ entries: [evilEntry], next: EVIL }, NOW)],
    [
      "summary",
      renderSummary({
        ...summary,
        destinations: [{ nextHop: EVIL as NextHop, messages: 1, oldest: NOW, ages: [1, 0, 0, 0, 0, 0], problem }],
      }),
    ],
    ["why", renderWhy(evilStory, { all: true })],
    ["mailq", renderMailq([evilEntry])],
    ["JSON", renderJson(evilStory)],
    ["start", renderStart({ kind: "started", version: "1", dataFolder: EVIL, listeners: [] }, HINTS)],
  ];
  for (const [name, text] of outputs)
    test(`${name} is harmless`, () => {
      // biome-ignore lint: the controls are the point
      expect(text.replaceAll("\n", "")).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
      expect(text).not.toContain("\r");
    });
  test("JSON is lossless all the same", () => expect(JSON.parse(renderJson({ text: EVIL }))).toEqual({ text: EVIL }));
});

test("the start says where, and what next", () => {
  const started = {
    kind: "started",
    version: "0.1.0",
    dataFolder: "/data",
    listeners: [
      { name: "smtp", address: "127.0.0.1", port: 2525, tls: "starttls" },
      { name: "six", address: "::1", port: 2465, tls: "implicit" },
    ],
  } as const;
  const text = renderStart(started, { hasCertificate: true, command: "postern --data /d" });
  expect(text).toMatch(/127\.0\.0\.1:2525 +STARTTLS\n/);
  expect(text).toMatch(/\[::1\]:2465 +from the first octet/);
  expect(text).toMatch(/ postern --data \/d send .*\n.* postern --data \/d queue summary /);
  expect(renderStart(started, HINTS)).toMatch(/127\.0\.0\.1:2525 +none, for want of a certificate\n/);
});

describe("the command that reaches the relay just started", () => {
  const cases: [options: GlobalOptions, environment: Record<string, string>, command: string][] = [
    [{}, {}, "postern"],
    [{}, { npm_lifecycle_event: "start" }, "npx postern"],
    [{ config: "my relay.yaml", data: "/d" }, {}, "postern --config 'my relay.yaml' --data /d"],
    [{ data: "it's" }, {}, "postern --data 'it'\\''s'"],
  ];
  for (const [options, environment, command] of cases) test(command, () => expect(commandHere(options, { environment })).toBe(command));
});
