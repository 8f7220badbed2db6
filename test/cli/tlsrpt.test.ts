import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Control, openControl } from "../../src/admin/control.ts";
import { renderKeys, renderRecords } from "../../src/cli/dkim-text.ts";
import { describeSummary, renderCounted, renderPreview, renderReport, renderReports, renderSent } from "../../src/cli/tlsrpt-text.ts";
import { systemClock } from "../../src/clock.ts";
import type { TlsReport } from "../../src/queue/tls-reports.ts";
import { openSqliteStore } from "../../src/store/sqlite/open.ts";
import { type FakeIo, fakeIo } from "../admin/fake-io.ts";
import { run } from "./run.ts";
import { NOW } from "./story.ts";
import {
  domain,
  keyList,
  keyRecords,
  keys,
  oneReport,
  preview,
  reportSummary,
  reports,
  sentReport,
  TODAY,
  today,
  YESTERDAY,
} from "./tls-report-story.ts";

let folder: string;
let io: FakeIo;
let control: Control | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "postern-tlsrpt-"));
  io = fakeIo();
});
afterEach(async () => {
  await control?.close();
  control = undefined;
  rmSync(folder, { recursive: true, force: true });
});
const relay = async (): Promise<void> => {
  control = await openControl(folder, io);
};

describe("tlsrpt and dkim ask the running relay", () => {
  const cases: [argv: string[], code: number, out: RegExp, err?: RegExp][] = [
    [["tlsrpt", "--help"], 0, /today[\s\S]*preview[\s\S]*Examples:[\s\S]*postern tlsrpt read report\.json\.gz/],
    [["tlsrpt", "today"], 0, /^2026-09-02, the UTC day so far\n[\s\S]*^univ\.example +- +12 +0 /m],
    [["tlsrpt", "today", "--limit", "1"], 0, /\nMore: add --after example\.net\n$/],
    [
      ["tlsrpt", "today", "--failed"],
      0,
      /^(?![\s\S]*univ\.example)[\s\S]*example\.org +no-policy-found +0 +4 +4 +certificate-expired +mx1\.example\.org +203\.0\.113\.5$/m,
    ],
    [["tlsrpt", "today", "example.net", "--day", "yesterday"], 0, /^2026-09-01, the UTC day: nothing was counted\.\n$/],
    [["tlsrpt", "today", "--day", "2026-02-30"], 64, /^$/, /not a day like 2026-09-01: "2026-02-30"/],
    [["tlsrpt", "today", "--limit", "0"], 64, /^$/, /--limit: a number from 1 to 1000/],
    [["tlsrpt", "list"], 0, /^DAY +DOMAIN +STATE[\s\S]*^2026-09-01 +example\.org +sending +2 +in 16m /m],
    [["tlsrpt", "list", "--state", "due"], 0, /^No report matches\.\n$/],
    [["tlsrpt", "list", "--state", "lost"], 64, /^$/, /--state: one of due, sending, sent, not-asked, failed/],
    [["tlsrpt", "show", "example.net"], 0, /^state +sent 2026-09-02 02:14 UTC; 1 try$/m],
    [
      ["tlsrpt", "show", "example.net", "today"],
      1,
      /^$/,
      /^postern: No report of 2026-09-02 for example\.net: the UTC day is not over; postern tlsrpt preview example\.net shows .* so far\.\n$/,
    ],
    [["tlsrpt", "show", "nowhere.example"], 1, /^$/, /No report of 2026-09-01 for nowhere\.example: nothing was counted for it/],
    [["tlsrpt", "preview", "example.net"], 0, /^goes to +https:\/\/reports\.example\.net\/v1\/tlsrpt\n +mailto:tls@example\.net$/m],
    [["tlsrpt", "preview", "idle.example"], 1, /Nothing was counted for idle\.example on 2026-09-02, so there is no report\.\n$/],
    [["tlsrpt", "preview", "idle.example", "--document"], 1, /^$/, /^postern: Nothing was counted for idle\.example on 2026-09-02/],
    [["tlsrpt", "send", "example.net"], 0, /^state +sent /m],
    [["tlsrpt", "send", "example.org"], 0, /^state +sending; next in 16m[\s\S]*postern queue why 0KF41S6N8C$/m],
    [
      ["tlsrpt", "send", "univ.example", "2026-08-31"],
      1,
      /^to +https:\/\/tls\.univ\.example\/report {2}failed 2026-09-02 03:05 UTC: 503 from tls\.univ\.example$/m,
    ],
    [["tlsrpt", "send", "nowhere.example"], 1, /^$/, /No report of 2026-09-01 for nowhere\.example/],
    [["tlsrpt", "send", "example.net", "today"], 64, /^$/, /the UTC day 2026-09-02 is not over/],
    [["dkim", "--help"], 0, /rotate[\s\S]*Examples:[\s\S]*postern dkim dns/],
    [
      ["dkim", "list"],
      0,
      /^example\.com +postern1e +ed25519-sha256 +waiting for DNS +2026-08-30 08:00 UTC +3m ago +the record is not in DNS$/m,
    ],
    [
      ["dkim", "dns"],
      0,
      /^; published, in use \(looked 22m ago\)\npostern1r\._domainkey\.example\.com\. IN TXT "v=DKIM1; k=rsa; s=email:tlsrpt; p=[^"]+" "[^"]+"$/m,
    ],
    [["dkim", "dns", "example.net"], 1, /^; no keys here/],
    [["dkim", "check"], 1, /^1 key waits for DNS\. What to publish: postern dkim dns$/m],
    [["dkim", "rotate", "example.com"], 0, /^; keys in use go on signing until these are seen: postern dkim check$/m],
    [["dkim", "rotate", "example.net"], 64, /^$/, /example\.net is not signed for: it is not in dkim\.domains/],
  ];
  for (const [argv, code, out, err = /^$/] of cases)
    test(argv.join(" "), async () => {
      await relay();
      const ran = await run(argv, { folder });
      expect(ran.err).toMatch(err);
      expect(ran.out).toMatch(out);
      expect(ran.code).toBe(code);
    });

  const inJson: [argv: string[], member: string, value: unknown][] = [
    [["tlsrpt", "today"], "domains.0.policies.2.details.0.detail.reasonCode", "dane-no-match"],
    [["tlsrpt", "list"], "reports.0.state", "sent"],
    [["tlsrpt", "show", "example.net"], "report.document", sentReport.document],
    [["tlsrpt", "send", "example.net"], "report.state", "sent"],
    [["tlsrpt", "preview", "example.net"], "to.kind", "destinations"],
    [["dkim", "list"], "keys.1.state", "active"],
    [["dkim", "dns"], "records.0.problem", "the record is not in DNS"],
    [["dkim", "rotate", "example.com"], "records.0.name", "postern1e._domainkey.example.com"],
    [["dkim", "check"], "keys.0.checkedAt", NOW - 180_000],
    [["status"], "tlsReports.failures", 7],
    [["status"], "dkim", { keys: 2, waiting: 1 }],
  ];
  for (const [argv, member, value] of inJson)
    test(`${argv.join(" ")} --json`, async () => {
      await relay();
      expect(JSON.parse((await run([...argv, "--json"], { folder })).out)).toHaveProperty(member, value);
    });

  test("--document is the text that was sent, octet for octet", async () => {
    await relay();
    expect(await run(["tlsrpt", "show", "example.net", "--document"], { folder })).toEqual({
      code: 0,
      out: `${sentReport.document}\n`,
      err: "",
    });
    expect((await run(["tlsrpt", "preview", "example.net", "--document"], { folder })).out).toBe(`${preview.document}\n`);
    expect(await run(["tlsrpt", "show", "example.org", "--document"], { folder })).toMatchObject({ code: 1, out: "" });
  });

  test("a key that nothing waits for is exit 0 of check", async () => {
    io.keyring.list = () => Promise.resolve(keyList.keys.filter(({ state }) => state === "active"));
    await relay();
    expect((await run(["dkim", "check"], { folder })).code).toBe(0);
    expect((await run(["status"], { folder })).out).not.toContain("DKIM");
  });

  test("send waits for the end of the try, and a retry is exit 75", async () => {
    const find = io.reports.find;
    let looks = 0;
    io.reports.find = async (day, name) => {
      const report = await find(day, name);
      looks += 1;
      // First it has its turn, then it is under way, then it waits for another try.
      return (
        report && {
          ...report,
          state: "due",
          attempts: looks === 1 ? 0 : 1,
          dueAt: looks < 3 ? NOW : NOW + 900_000,
          endedAt: undefined as never,
        }
      );
    };
    await relay();
    const ran = await run(["tlsrpt", "send", "example.net"], { folder });
    expect(ran).toMatchObject({ code: 75, err: "" });
    expect(ran.out).toMatch(/^state +due; next in 15m, given up 2026-09-03 02:14 UTC; 1 try$/m);
    expect(looks).toBe(3);
  });

  test("status has a line for reports and one for keys that wait", async () => {
    await relay();
    const { out } = await run(["status"], { folder });
    expect(out).toMatch(
      /^TLS reports {2}today 437 ok and 7 failed at 3 domains, failures at 2: postern tlsrpt today --failed; 1 report to be sent; 1 failed: postern tlsrpt list --state failed$/m,
    );
    expect(out).toMatch(/^DKIM +1 of 2 keys not in use, for want of a record in DNS: postern dkim dns$/m);
  });
});

describe("tlsrpt read needs neither relay nor configuration", () => {
  const rooms = { readSettings: () => Promise.reject(new Error("nobody reads settings here")) };
  const document = sentReport.document ?? "";

  test("JSON and gzip, from a file and from standard input", async () => {
    writeFileSync(join(folder, "report.json"), document);
    writeFileSync(join(folder, "report.json.gz"), gzipSync(document));
    const plain = await run(["tlsrpt", "read", join(folder, "report.json")], { folder, rooms });
    expect(plain).toMatchObject({ code: 0, err: "", out: expect.stringMatching(/^sessions +425 succeeded, 3 failed, under 3 policies$/m) });
    expect(await run(["tlsrpt", "read", join(folder, "report.json.gz")], { folder, rooms })).toEqual(plain);
    expect(await run(["tlsrpt", "read", "-"], { folder, rooms, input: document })).toEqual(plain);
    expect(JSON.parse((await run(["tlsrpt", "read", "-", "--json"], { folder, rooms, input: document })).out)).toHaveProperty(
      "policies.2.details.0.reasonCode",
      "dane-no-match",
    );
  });

  test("what is no report is 65, what cannot be read 66", async () => {
    expect(await run(["tlsrpt", "read", "-"], { folder, rooms, input: "{}" })).toMatchObject({
      code: 65,
      out: "",
      err: expect.stringMatching(/^postern: what was read is no TLS report: /),
    });
    const missing = join(folder, "missing");
    expect(await run(["tlsrpt", "read", missing], { folder, rooms })).toMatchObject({
      code: 66,
      out: "",
      err: expect.stringContaining(`${missing} cannot be read`),
    });
    expect((await run(["tlsrpt", "read", folder], { folder, rooms })).code).toBe(66);
    expect((await run(["tlsrpt", "read"], { folder, rooms })).code).toBe(64);
  });
});

test("without a relay, reports and keys are told from the database; what needs DNS is not", async () => {
  const data = join(folder, "data");
  const open = () => openSqliteStore({ folder: data, clock: systemClock, emit: () => {}, minimumFree: 0, settlementReserve: 0 });
  const store = await open();
  await store.reports.add(reports);
  for (const key of keys) await store.dkimKeys.add(key);
  await store.close();
  const rooms = { openStore: open };
  expect((await run(["tlsrpt", "list"], { folder, rooms })).out).toBe(renderReports({ now: NOW, reports }));
  expect((await run(["tlsrpt", "show", "example.net"], { folder, rooms })).out).toMatch(
    /^to +https:\/\/reports\.example\.net\/v1\/tlsrpt {2}accepted/m,
  );
  expect((await run(["tlsrpt", "today"], { folder, rooms })).out).toBe("2026-09-02, the UTC day so far: nothing was counted.\n");
  expect((await run(["dkim", "list"], { folder, rooms })).out).toBe(renderKeys(keyList, { running: false }));
  expect((await run(["dkim", "dns"], { folder, rooms })).out).toBe(renderRecords(keyRecords));
  expect((await run(["dkim", "dns", "--json"], { folder, rooms })).out).not.toContain("PRIVATE KEY");
  for (const argv of [
    ["dkim", "check"],
    ["dkim", "rotate", "example.com"],
    ["tlsrpt", "send", "example.net"],
    ["tlsrpt", "preview", "example.net"],
  ])
    expect(await run(argv, { folder, rooms })).toMatchObject({ code: 75, out: "", err: expect.stringContaining("no relay runs") });
});

describe("words", () => {
  test("hostile text reaches no terminal", () => {
    const evil = "\u001b[2Jx";
    const dirty: TlsReport = { ...sentReport, detail: evil, destinations: [{ uri: `mailto:${evil}`, state: "failed", detail: evil }] };
    const texts = [
      renderReports({ now: NOW, reports: [dirty], next: evil }),
      renderReport({ ...oneReport, report: dirty }),
      renderSent({ ...oneReport, report: dirty }),
      renderPreview({ ...preview, to: { kind: "none", reason: "invalid", detail: evil } }),
      renderPreview({ ...preview, to: { kind: "failed", detail: evil } }),
      renderPreview({ ...preview, to: { kind: "destinations", destinations: [{ kind: "https", uri: evil }], ignored: [evil] } }),
      renderKeys({ now: NOW, keys: keyList.keys.map((key) => ({ ...key, problem: evil })) }, { running: true }),
      renderRecords({ now: NOW, records: keyRecords.records.map((record) => ({ ...record, problem: evil })) }),
      renderCounted(
        {
          ...today,
          domains: [
            {
              reportDomain: domain("a.test"),
              successes: 0,
              failures: 1,
              policies: [
                {
                  policy: { type: "sts", domain: evil, text: [evil] },
                  successes: 0,
                  failures: 1,
                  details: [
                    {
                      detail: { resultType: "validation-failure", reasonCode: evil, receivingMxHostname: evil, receivingIp: evil },
                      sessions: 1,
                    },
                  ],
                },
              ],
            },
          ],
        },
        { alone: true },
      ),
    ];
    for (const text of texts) {
      expect(text).toContain("?[2Jx");
      expect(text).not.toContain("\u001b");
    }
  });

  test("a policy of many lines is cut", () => {
    const text = Array.from({ length: 30 }, (_one, at) => `mx: mx${at}.a.test`);
    const policies = [{ policy: { type: "sts" as const, domain: "a.test", text }, successes: 1, failures: 0, details: [] }];
    const shown = renderCounted(
      { ...today, domains: [{ reportDomain: domain("a.test"), successes: 1, failures: 0, policies }] },
      { alone: true },
    );
    expect(shown).toContain("mx: mx19.a.test\n           and 10 more\n");
    expect(shown).not.toContain("mx20");
  });

  test("a key of a domain that is no longer listed says so, where somebody knows", () => {
    const [key] = keyList.keys;
    if (key === undefined) throw new Error("the story has keys");
    const list = { now: NOW, keys: [{ ...key, listed: false }] };
    expect(renderKeys(list, { running: true })).toMatch(/its domain is no longer in\n +dkim\.domains\n$/);
    expect(renderKeys(list, { running: false })).toMatch(/^(?![\s\S]*no longer)[\s\S]*\n1 key waits for DNS/);
    expect(renderKeys({ now: NOW, keys: [] }, { running: true })).toContain("DKIM_DOMAINS");
  });

  test("a report that is not built yet says where to look", () => {
    const { document: _document, ...report } = sentReport;
    expect(renderReport({ ...oneReport, report })).toMatch(
      /postern tlsrpt preview example\.net --day 2026-09-01 shows what it would say now\.\n$/,
    );
  });

  const summaries: [what: string, changed: Partial<typeof reportSummary>, text: string][] = [
    ["an idle day", { domains: 0, failedDomains: 0, due: 0, failed: 0 }, "nothing counted today"],
    ["a good day", { failedDomains: 0, failures: 0, due: 0, failed: 0 }, "today 437 ok and 0 failed at 3 domains"],
    [
      "more domains than were looked through",
      { more: true, failedDomains: 0, due: 2, failed: 0 },
      "today more than 437 ok and 7 failed at 3 domains; 2 reports to be sent",
    ],
  ];
  for (const [what, changed, text] of summaries) test(what, () => expect(describeSummary({ ...reportSummary, ...changed })).toBe(text));

  test("days", () => expect([TODAY, YESTERDAY]).toEqual(["2026-09-02", "2026-09-01"]));
});
