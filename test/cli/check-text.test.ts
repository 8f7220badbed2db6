/** What `check`, `policy` and `queue why` say of published policy; the whole cards stand in docs/policy.md (docs.test.ts). */
import { describe, expect, test } from "vitest";
import type { CheckLine } from "../../src/admin/stream.ts";
import { renderStage } from "../../src/cli/check-text.ts";
import { describeRules, describeSts, describeTls, describeTlsaEvidence, describeWatched } from "../../src/cli/evidence-text.ts";
import { renderPolicies, renderPolicy, renderRefresh } from "../../src/cli/policy-text.ts";
import { renderWhy } from "../../src/cli/why-text.ts";
import { renderJsonLine } from "../../src/cli/words.ts";
import type { Domain, NextHop } from "../../src/mail/domain.ts";
import type { HostProof } from "../../src/policy/host-facts.ts";
import type { DnssecState } from "../../src/policy/facts.ts";
import type { StsEvidence, TlsaEvidence } from "../../src/policy/evidence.ts";
import type { TlsOutcome } from "../../src/policy/outcome.ts";
import type { CheckStage, CheckStart } from "../../src/queue/check.ts";
import type { AttemptRecord } from "../../src/queue/settlement.ts";
import {
  deliverable,
  leafOf,
  policyOf,
  refreshed,
  refused,
  refusedAttempt,
  refusedEntry,
  refusedStory,
  refusedVerdict,
  sts,
  unmatched,
  view,
} from "./check-story.ts";
import { NOW, story } from "./story.ts";

const failure = { type: "validation-failure", detail: "no match", whoActs: "receiver" } as const;

describe("what a session is called", () => {
  const held = { held: true, referenceIdentifier: "mx1.example.net" } as const;
  const dane = { held: true, baseDomain: "mx1.example.net", record: "3 1 1 9f2c" } as const;
  const not = { held: false, failure } as const;
  const session = (webpki: typeof held | typeof not, tlsa?: typeof dane | typeof not): TlsOutcome => ({
    kind: "authenticated",
    session: {
      protocol: "TLSv1.3",
      cipher: "TLS_AES_256_GCM_SHA384",
      chain: [leafOf("mx1")],
      webpki,
      ...(tlsa !== undefined && { dane: tlsa }),
    },
  });
  const cases: [outcome: TlsOutcome, proof: HostProof | undefined, head: string][] = [
    [session(held), "dnssec", "authenticated: "],
    [session(held), "sts-listed", "authenticated: "],
    [session(held), "named", "authenticated: "],
    [session(held), undefined, "authenticated: "],
    // A certificate proves the name that DNS gave, not that DNS gave the right one.
    [session(held), "none", "authenticated, MX unproven: "],
    [session(not, dane), "none", "host authenticated, MX unsigned: "],
    [session(held, not), "none", "authenticated, MX unproven: "],
    [session(held, not), "dnssec", "authenticated, but not by DANE: "],
    [session(not, dane), "dnssec", "authenticated: "],
  ];
  for (const [outcome, proof, head] of cases)
    test(`${head}(${proof})`, () => expect(describeTls(outcome, proof)[0]?.startsWith(head)).toBe(true));

  test("both verdicts are told, but not what is said beside them", () => {
    expect(describeTls(session(held, not), "dnssec").slice(1, 3)).toEqual([
      "DANE fails: validation-failure: no match",
      "certificate of a trusted CA for mx1.example.net",
    ]);
    expect(describeTls(session(held, not), "dnssec", "at mx1: no match; demanded").slice(1, 2)).toEqual([
      "certificate of a trusted CA for mx1.example.net",
    ]);
    expect(describeTls(session(not, dane), "dnssec").slice(1, 3)).toEqual([
      "DANE holds: matches TLSA 3 1 1 9f2c of mx1.example.net",
      "WebPKI fails: validation-failure: no match",
    ]);
  });
});

describe("facts in words", () => {
  const policies: [StsEvidence, RegExp][] = [
    [sts, /^enforce, id 20260801T0000, fetched 2026-09-01 22:10 UTC \(12h 14m old\), valid to 2026-09-08 22:10 UTC\nlists mx1/],
    [
      { ...sts, trouble: { ...failure, type: "sts-policy-fetch-error", detail: "status 500" } },
      /\nkept, though the latest look at it failed: sts-policy-fetch-error: status 500$/,
    ],
    [{ kind: "none" }, /^no policy found$/],
    [
      { kind: "none", trouble: { ...failure, type: "sts-policy-fetch-error", detail: "SERVFAIL from ::1" } },
      /^the look-up of the record failed: SERVFAIL from ::1; counts as none \(RFC 8461 §3\.1\)$/,
    ],
    [{ kind: "not-asked", why: "an address literal" }, /^not asked: an address literal$/],
    [
      { kind: "unavailable", failure: { ...failure, type: "sts-webpki-invalid", detail: "expired" } },
      /^announced, and could not be had: sts-webpki-invalid: expired;/,
    ],
  ];
  for (const [evidence, text] of policies)
    test(`MTA-STS ${evidence.kind}: ${text}`, () => expect(describeSts(evidence, NOW).join("\n")).toMatch(text));

  const records: [TlsaEvidence, RegExp][] = [
    [
      { kind: "records", baseDomain: "mx", records: ["3 1 1 00"], expires: NOW + 60_000 },
      /^TLSA records of mx, signed, good for 1m:\n {2}3 1 1 00$/,
    ],
    [{ kind: "none", asked: ["_25._tcp.mx"], security: "secure", expires: NOW }, /^no TLSA records at _25\._tcp\.mx, and that is signed$/],
    [{ kind: "none", asked: ["_25._tcp.mx"], security: "insecure", expires: NOW }, /^no TLSA records that DNSSEC proves at/],
    [
      { kind: "failed", asked: "_25._tcp.mx", detail: "SERVFAIL (EDE 7)" },
      /^the TLSA look-up for _25\._tcp\.mx failed: SERVFAIL \(EDE 7\)$/,
    ],
    [{ kind: "not-asked", why: "its addresses are not signed" }, /^no TLSA records asked for: its addresses/],
  ];
  for (const [evidence, text] of records)
    test(`TLSA ${evidence.kind}: ${text}`, () => expect(describeTlsaEvidence(evidence, NOW).join("\n")).toMatch(text));

  test("the rule that won stands first, then those that held, were watched, had nothing to say", () => {
    const rule = { source: "floor", text: "r", section: "", says: "x" } as const;
    const lines = describeRules((["idle", "watched", "won", "holds"] as const).map((effect) => ({ ...rule, effect })));
    expect(lines.map((line) => line.slice(0, 10).trimEnd())).toEqual(["won", "holds too", "watched", "no demand"]);
  });

  test("what sets published policy aside has not won: one rule has", () => {
    const aside = { source: "published", text: "tls.published of this relay", section: "", says: "report: …", effect: "won" } as const;
    const won = { source: "floor", text: "tls.floor of this relay", section: "", says: "encrypted TLS", effect: "won" } as const;
    expect(describeRules([aside, won]).map((line) => line.slice(0, 10).trimEnd())).toEqual(["set aside", "won"]);
  });

  const bindings: [name: string, start: Pick<CheckStart, "published" | "tag"> | undefined, verdict: string][] = [
    ["in force", { published: { mode: "enforce", setting: "" } }, "used"],
    ["report", { published: { mode: "report", setting: "" } }, "watch"],
    ["TLS-Required: No", { published: { mode: "enforce", setting: "" }, tag: "optional" }, "watch"],
  ];
  for (const [name, start, verdict] of bindings)
    test(`check says of an enforced policy under ${name}: ${verdict}`, () => {
      expect(renderStage({ stage: "mta-sts", sts }, NOW, start)).toMatch(new RegExp(`^MTA-STS +${verdict} +enforce`));
      const blind = renderStage({ stage: "resolver", state: { kind: "blind", detail: "no AD", since: NOW } }, NOW, start);
      expect(blind.includes("would hold back mail to a domain that is known to use DANE")).toBe(name === "report");
    });

  test("why tells of a blind resolver what report only watches", () => {
    const card = (says: string): string => {
      const rule = { source: "published", text: "tls.published of this relay", section: "", effect: "won", says } as const;
      const [host] = refusedAttempt.hosts;
      if (host?.policy === undefined) throw new Error("the story has a host");
      const attempt: AttemptRecord = {
        ...refusedAttempt,
        policy: { dnssec: "blind", sts },
        hosts: [{ ...host, policy: { ...host.policy, rules: [rule] } }],
      };
      return renderWhy({ ...story, entries: [{ ...refusedEntry, attemptRecords: [attempt] }] }, { all: false });
    };
    expect(card("report: published policy is watched, not enforced")).toContain("known to use DANE: resolver-blind");
    expect(card("published policy is not looked at")).not.toContain("known to use DANE: resolver-blind");
  });

  test("what published policy would have stopped", () => {
    const because = { source: "mta-sts", text: "MTA-STS testing of example.net" } as const;
    expect(describeWatched([{ failure, because }])).toEqual([
      "published policy would have stopped this: validation-failure: no match (MTA-STS testing of example.net)",
    ]);
    expect(describeWatched(undefined)).toEqual([]);
  });
});

describe("check", () => {
  const text = (line: CheckLine | CheckStage): string => renderStage(line, NOW);
  const reporting = { stage: "tls-rpt", reportDomain: "example.net" as Domain } as const;
  const base = { stage: "verdict", nextHop: "example.net" as NextHop, failed: [] } as const;
  const lines: [name: string, line: CheckLine, text: RegExp][] = [
    [
      "deliverable, with what cannot be used",
      deliverable.at(-1) as CheckLine,
      /^verdict +ok +deliverable through mx1\.example\.net \[192\.0\.2\.1\]: authenticated; mx2\.example\.net cannot be used\n$/,
    ],
    [
      "a name that nothing proved",
      { ...base, kind: "deliverable", through: { host: "mx", address: "192.0.2.1", level: "authenticated", proof: "none" } },
      /: authenticated, MX unproven\n$/,
    ],
    [
      "the same where DANE held: only the MX records lack a signature",
      { ...base, kind: "deliverable", through: { host: "mx", address: "192.0.2.1", level: "authenticated", dane: true, proof: "none" } },
      /: host authenticated, MX unsigned\n$/,
    ],
    [
      "in clear is said as such",
      { ...base, kind: "deliverable", through: { host: "mx", address: "192.0.2.1", level: "clear", proof: "none" } },
      /: in clear\n$/,
    ],
    [
      "nobody was dialled",
      { ...base, kind: "deliverable", through: { host: "mx", proof: "dnssec" } },
      /through mx: no host was dialled\n$/,
    ],
    [
      "refused",
      refused.at(-1) as CheckLine,
      /^verdict +FAIL +refused by policy; mail waits: validation-failure \(4\.7\.5\)[\s\S]*\nwho acts +example\.net: publish a TLSA record[\s\S]*\nmeanwhile +tls: \{/,
    ],
    ["what fails at once", { ...refusedVerdict, kind: "undeliverable", final: true }, /not deliverable; mail fails at once/],
    [
      "cut short",
      { ...base, kind: "undeliverable", failed: ["a", "b"], cutShort: true },
      /\nnote +warn +the time for one check was over before every host had its turn\n$/,
    ],
    ["a look-up", { ...refusedVerdict, kind: "lookup-failed" }, /FAIL +look-up failed; mail waits/],
    [
      "a blind resolver",
      { stage: "resolver", state: { kind: "blind", detail: "127.0.0.11 answered a broken name", since: NOW } },
      /^resolver +warn +DNSSEC-blind: 127\.0\.0\.11/,
    ],
    [
      "a published mode other than enforce",
      { ...(deliverable[0] as CheckStage & { stage: "destination" }), published: { mode: "report", setting: "tls.domains: example.net" } },
      /\npublished +watch +.*\(tls\.domains: example\.net: report\)\n$/,
    ],
    [
      "a route",
      {
        ...(deliverable[0] as CheckStage & { stage: "destination" }),
        route: { kind: "configured", setting: "relayhost", host: "smtp.example.com" },
      },
      /\nroute +used +smtp\.example\.com \(relayhost\)\n$/,
    ],
    ["a policy in testing", { stage: "mta-sts", sts: { ...sts, mode: "testing" } }, /^MTA-STS +watch +testing/],
    [
      "reports go to several, and something else stood there",
      {
        ...reporting,
        wish: {
          kind: "destinations",
          destinations: [
            { kind: "mailto", uri: "mailto:tls@example.net" },
            { kind: "https", uri: "https://example.net/v1" },
          ],
          ignored: ['"ftp:x": it is neither mailto nor https'],
        },
      },
      /^TLS-RPT +ok +mailto:tls@example\.net\n +https:\/\/example\.net\/v1\n +not used: "ftp:x": it is neither mailto nor https\n$/,
    ],
    [
      "nobody asks for reports",
      { ...reporting, wish: { kind: "none", reason: "absent", detail: "there is no record" } },
      /^TLS-RPT +none +nobody: _smtp\._tls\.example\.net asks for no reports: there is no record\n$/,
    ],
    [
      "a record that cannot be used is worth a look",
      { ...reporting, wish: { kind: "none", reason: "no-usable-uri", detail: "it has no rua" } },
      /^TLS-RPT +warn +nobody: .*it has no rua\n$/,
    ],
    [
      "who asks for reports is not known",
      { ...reporting, wish: { kind: "failed", detail: "SERVFAIL" } },
      /^TLS-RPT +warn +unknown: the look-up of _smtp\._tls\.example\.net failed: SERVFAIL\n$/,
    ],
    [
      "MX that could not be looked up",
      { stage: "mx", mx: { kind: "failed", detail: "SERVFAIL" }, hosts: [], more: 0 },
      /^MX +FAIL +the look-up failed: SERVFAIL\n$/,
    ],
    [
      "more hosts than one attempt tries",
      { stage: "mx", mx: { kind: "records", security: "insecure", expires: NOW + 1000 }, hosts: [{ host: "a", preference: 1 }], more: 12 },
      /not signed, good for 1s: a \(1\) and 12 more, which one attempt does not try\n$/,
    ],
  ];
  for (const [name, line, expected] of lines) test(name, () => expect(text(line)).toMatch(expected));

  test("what was not asked takes no line", () => expect(text({ stage: "mx", hosts: [], more: 0 })).toBe(""));

  test("nothing of a stage is lost in JSON", () => {
    for (const line of [...deliverable, ...refused]) expect(JSON.parse(renderJsonLine(line))).toEqual(JSON.parse(JSON.stringify(line)));
  });
});

describe("queue why", () => {
  const card = (change: Partial<typeof refusedAttempt>) =>
    renderWhy({ ...refusedStory, entries: [{ ...refusedEntry, attemptRecords: [{ ...refusedAttempt, ...change }] }] }, { all: true });

  test("what the resolver was worth stands there unless it validated", () => {
    const states: DnssecState["kind"][] = ["untested", "untrusted", "blind"];
    expect(card({})).not.toMatch(/DNSSEC /);
    for (const dnssec of states) expect(card({ policy: { dnssec, sts } })).toMatch(/ DNSSEC /);
  });

  test("with several hosts the rules say whose they are", () => {
    const [report] = refusedAttempt.hosts;
    if (report === undefined) throw new Error("a host was met");
    const other = { ...report, host: "mx3.example.net", policy: policyOf("mx3.example.net") };
    expect(card({ hosts: [report, other] })).toMatch(/^rules +for mx2\.example\.net:\n +won +the TLSA records of mx2/m);
  });

  test("an attempt from before schema version 2 still prints: no rules, one failure or one name in the session", () => {
    const { policy: _policy, ...bare } = refusedAttempt;
    const former = {
      kind: "authenticated",
      referenceIdentifier: "mx2.example.net",
      session: { protocol: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384", chain: [leafOf("mx2.example.net")] },
    } as unknown as TlsOutcome;
    const failed = {
      kind: "encrypted",
      because: failure,
      session: { protocol: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384", chain: [], failure },
    } as unknown as TlsOutcome;
    const hosts = [former, failed].map((tls) => ({ host: "mx2.example.net", address: "192.0.2.2", step: "mail" as const, tls }));
    const text = renderWhy({ ...refusedStory, entries: [{ ...refusedEntry, attemptRecords: [{ ...bare, hosts }] }] }, { all: true });
    expect(text).toMatch(/authenticated: TLSv1\.3 .*\n +certificate of a trusted CA for mx2\.example\.net\n/);
    expect(text).toMatch(/encrypted, not authenticated: TLSv1\.3 .*; validation-failure\n +no certificate was shown/);
    expect(text).not.toMatch(/^(rules|published)/m);
  });
});

describe("a stranger's text on a terminal", () => {
  const EVIL = "\u001b]0;owned\u0007\u009b2J\u202egnp.exe\r\n";
  const spoil = <T>(value: T): T => {
    if (typeof value === "string") return `${value}${EVIL}` as T;
    if (Array.isArray(value)) return value.map(spoil) as T;
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, KEPT.has(key) ? inner : spoil(inner)])) as T;
  };
  // Words of our own that decide what is printed.
  const KEPT = new Set(["stage", "kind", "step", "effect", "mode", "security", "held", "verdict", "proof", "level", "setting", "reason"]);
  const outputs: [string, string][] = [
    ...[...deliverable, ...refused].map((line): [string, string] => [`check, ${line.stage}`, renderStage(spoil(line), NOW)]),
    ["check as JSON", renderJsonLine(spoil(refused))],
    ["policy show", renderPolicy(spoil(view))],
    ["policy list", renderPolicies(spoil({ now: NOW, policies: view.kept === undefined ? [] : [view.kept], next: "x" }))],
    ["policy refresh", renderRefresh(spoil({ ...refreshed, now: NOW }))],
    ["why", renderWhy({ ...story, entries: [{ ...refusedEntry, attemptRecords: [spoil(refusedAttempt)] }] }, { all: true })],
    ["a session", describeTls(spoil(unmatched), "dnssec").join("\n")],
  ];
  for (const [name, text] of outputs)
    test(`${name} is harmless`, () => {
      // biome-ignore lint: the controls are the point
      expect(text.replaceAll("\n", "")).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
      expect(text).not.toContain("\r");
    });
});
