import { describe, expect, test } from "vitest";
import { BadRequest } from "../../src/admin/bad-request.ts";
import { answer } from "../../src/admin/handlers.ts";
import { parseReportDay } from "../../src/admin/tlsrpt.ts";
import { domain, keys, reportSummary, TODAY, YESTERDAY } from "../cli/tls-report-story.ts";
import { NOW } from "../cli/story.ts";
import { fakeIo } from "./fake-io.ts";

describe("a day", () => {
  const cases: [text: string, isDay: boolean][] = [
    ["2026-09-01", true],
    ["2024-02-29", true],
    ["2026-02-29", false],
    ["2026-13-01", false],
    ["2026-9-1", false],
    ["2026-09-01T00:00:00Z", false],
    ["yesterday", false],
    ["", false],
  ];
  for (const [text, isDay] of cases)
    test(`${JSON.stringify(text)} is ${isDay ? "one" : "none"}`, () => expect(parseReportDay(text).ok).toBe(isDay));
});

describe("what was counted", () => {
  test("today, a page at a time; the policies of domains where something failed", async () => {
    const io = fakeIo();
    const first = await answer("tlsrpt/today", { limit: 1 }, io);
    expect(first).toMatchObject({ now: NOW, day: TODAY, next: "example.net" });
    expect(first.domains).toEqual([expect.objectContaining({ reportDomain: "example.net", successes: 425, failures: 3 })]);
    expect(first.domains[0]?.policies).toHaveLength(3);
    const { domains, next } = await answer("tlsrpt/today", { after: "example.net" }, io);
    expect(domains.map(({ reportDomain, policies }) => [reportDomain, policies?.length])).toEqual([
      ["example.org", 1],
      ["univ.example", undefined],
    ]);
    expect(next).toBeUndefined();
  });

  test("only what failed, a page at a time, in order of the domain", async () => {
    const io = fakeIo();
    io.reports.failedDomains = () => Promise.resolve(["example.org", "example.net"].map(domain));
    const first = await answer("tlsrpt/today", { failed: true, limit: 1 }, io);
    expect(first).toMatchObject({ next: "example.net", domains: [{ reportDomain: "example.net", failures: 3 }] });
    const second = await answer("tlsrpt/today", { failed: true, limit: 1, after: "example.net" }, io);
    expect(second.domains).toEqual([expect.objectContaining({ reportDomain: "example.org", successes: 0, failures: 4 })]);
    expect(second.next).toBeUndefined();
  });

  test("one domain, by its name, an address or A-labels, on any day", async () => {
    const io = fakeIo();
    for (const asked of ["example.net", "EXAMPLE.net.", "jo@example.net"])
      expect((await answer("tlsrpt/today", { domain: asked }, io)).domains).toEqual([
        expect.objectContaining({ successes: 425, failures: 3 }),
      ]);
    expect(await answer("tlsrpt/today", { domain: "example.net", day: YESTERDAY }, io)).toEqual({ now: NOW, day: YESTERDAY, domains: [] });
  });
});

describe("reports", () => {
  test("the list has no documents, and hands its filters over", async () => {
    const io = fakeIo();
    const { reports } = await answer("tlsrpt/list", { day: YESTERDAY, domain: "Example.NET", state: "sent" }, io);
    expect(reports).toEqual([expect.not.objectContaining({ document: expect.anything() })]);
    expect(io.calls).toEqual([
      { name: "reports.list", value: { filter: { day: YESTERDAY, reportDomain: "example.net", state: "sent" }, page: { limit: 100 } } },
    ]);
  });

  test("the one that is shown is yesterday's, with its document", async () => {
    const io = fakeIo();
    expect((await answer("tlsrpt/show", { domain: "example.net" }, io)).report).toMatchObject({
      day: YESTERDAY,
      document: expect.stringContaining("dane-no-match"),
    });
    expect(await answer("tlsrpt/show", { domain: "example.net", day: TODAY }, io)).toEqual({ now: NOW, day: TODAY, domain: "example.net" });
  });

  test("sending orders yesterday's, and never one of a day that is not over", async () => {
    const io = fakeIo();
    expect(await answer("tlsrpt/send", { domain: "example.net" }, io)).toMatchObject({ day: YESTERDAY, report: { state: "due" } });
    expect(io.calls).toEqual([{ name: "reporter.sendNow", value: { day: YESTERDAY, domain: "example.net" } }]);
    for (const day of [TODAY, "2026-09-03"])
      await expect(answer("tlsrpt/send", { domain: "example.net", day }, io)).rejects.toThrow(
        /is not over, and a report is of a whole day/,
      );
    expect(io.calls).toHaveLength(1);
  });

  test("a preview is of today, says where it would go, and of nothing there is none", async () => {
    const io = fakeIo();
    expect(await answer("tlsrpt/preview", { domain: "example.net" }, io)).toMatchObject({
      day: TODAY,
      document: expect.stringContaining('"example.net"'),
      to: { kind: "destinations", destinations: [{ kind: "https" }, { kind: "mailto" }] },
    });
    const idle = await answer("tlsrpt/preview", { domain: "idle.example" }, io);
    expect(idle).not.toHaveProperty("document");
    expect(idle.to.kind).toBe("destinations");
    const { reporter } = io;
    if (reporter === undefined) throw new Error("the story has a reporter");
    reporter.preview = () =>
      Promise.resolve({ document: "{}", policy: { kind: "failed", reason: "servfail", detail: "SERVFAIL from 127.0.0.1" } });
    expect((await answer("tlsrpt/preview", { domain: "example.net" }, io)).to).toEqual({
      kind: "failed",
      detail: "SERVFAIL from 127.0.0.1",
    });
    const none = { kind: "none", reason: "absent", detail: "there is no record" } as const;
    reporter.preview = () => Promise.resolve({ document: "{}", policy: none });
    expect((await answer("tlsrpt/preview", { domain: "example.net" }, io)).to).toEqual(none);
  });

  test("without a running relay what is kept can be seen, and nothing sent or looked up", async () => {
    const io = fakeIo();
    delete io.reporter;
    expect((await answer("tlsrpt/list", {}, io)).reports).toHaveLength(3);
    for (const verb of ["tlsrpt/send", "tlsrpt/preview"] as const)
      await expect(answer(verb, { domain: "example.net" }, io)).rejects.toThrow(/only a running relay/);
  });

  test.each<[string, "tlsrpt/today" | "tlsrpt/list" | "tlsrpt/show", Record<string, unknown>]>([
    ["a day that there is not", "tlsrpt/today", { day: "2026-02-29" }],
    ["a domain that is none", "tlsrpt/show", { domain: "a b" }],
    ["an address literal", "tlsrpt/show", { domain: "[192.0.2.1]" }],
    ["a state that is none", "tlsrpt/list", { state: "lost" }],
    ["a page of nothing", "tlsrpt/list", { limit: 0 }],
    ["an unknown key", "tlsrpt/list", { colour: "red" }],
  ])("%s is refused", async (_name, verb, request) => {
    await expect(answer(verb, request, fakeIo())).rejects.toThrow(BadRequest);
  });

  test("the summary counts over all pages, what is to be sent, and what failed lately", async () => {
    const io = fakeIo();
    const { listCounted } = io.reports;
    io.reports.listCounted = (day, page) => listCounted(day, { ...page, limit: 1 });
    expect(await answer("tlsrpt/summary", {}, io)).toEqual(reportSummary);
    const { list } = io.reports;
    io.reports.list = async (filter, page) => ({
      reports: (await list(filter, page)).reports.map((one) => ({ ...one, endedAt: NOW - 49 * 3_600_000 })),
    });
    expect((await answer("tlsrpt/summary", {}, io)).failed).toBe(0);
  });
});

describe("DKIM keys", () => {
  test("no answer has a private key", async () => {
    const io = fakeIo();
    const told = JSON.stringify([
      await answer("dkim/list", {}, io),
      await answer("dkim/dns", {}, io),
      await answer("dkim/check", {}, io),
      await answer("dkim/rotate", { domain: "example.com" }, io),
    ]);
    expect(keys[0]?.privateKey).toContain("PRIVATE KEY");
    expect(told).not.toContain("PRIVATE KEY");
    expect(told).toContain(keys[1]?.publicKey);
  });

  test("what to publish comes with what DNS showed", async () => {
    const { records } = await answer("dkim/dns", { domain: "EXAMPLE.com" }, fakeIo());
    expect(records.map(({ name, state, problem, checkedAt }) => [name, state, problem, checkedAt])).toEqual([
      ["postern1e._domainkey.example.com", "waiting-for-dns", "the record is not in DNS", NOW - 180_000],
      ["postern1r._domainkey.example.com", "active", undefined, NOW - 1_320_000],
    ]);
    expect((await answer("dkim/dns", { domain: "example.net" }, fakeIo())).records).toEqual([]);
  });

  test("a rotation that cannot be is refused with the keyring's sentence", async () => {
    const io = fakeIo();
    await expect(answer("dkim/rotate", { domain: "example.net" }, io)).rejects.toThrow(
      new BadRequest("example.net is not signed for: it is not in dkim.domains"),
    );
    await expect(answer("dkim/rotate", { domain: "a b" }, io)).rejects.toThrow(BadRequest);
    expect(io.calls).toEqual([{ name: "keyring.rotate", value: "example.net" }]);
  });
});
