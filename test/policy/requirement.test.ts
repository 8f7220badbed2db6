import { describe, expect, test } from "vitest";
import type { Domain } from "../../src/mail/domain.ts";
import type { DaneVerdict, TlsFailure, TlsOutcome, TlsSession, WebPkiVerdict } from "../../src/policy/outcome.ts";
import {
  type Because,
  type ChannelLevel,
  findUnmet,
  isAtLeast,
  meetsRequirement,
  type TlsRequirement,
} from "../../src/policy/requirement.ts";

const failure = (detail: string): TlsFailure => ({ type: "validation-failure", detail, whoActs: "receiver" });
const webpki = (held: boolean): WebPkiVerdict =>
  held ? { held, referenceIdentifier: "mx.test" } : { held, failure: failure("webpki failed") };
const dane = (held: boolean): DaneVerdict =>
  held ? { held, baseDomain: "mx.test", record: "3 1 1 00" } : { held, failure: failure("dane failed") };
const session = (pki: boolean, match?: boolean): TlsSession => ({
  protocol: "TLSv1.3",
  cipher: "TLS_AES_256_GCM_SHA384",
  chain: [],
  webpki: webpki(pki),
  ...(match !== undefined && { dane: dane(match) }),
});

const clear: TlsOutcome = { kind: "clear", because: failure("in clear") };
/** As delivery makes them: a proof of either kind authenticates. */
const tls = (pki: boolean, match?: boolean): TlsOutcome =>
  pki || match === true
    ? { kind: "authenticated", session: session(pki, match) }
    : { kind: "encrypted", session: session(pki, match), because: failure("unproven") };
/** Both proofs hold, over a cipher suite that does not count. */
const weakSuite: TlsOutcome = { kind: "encrypted", session: session(true, true), because: failure("weak suite") };

const from = (source: Because["source"]): Because => ({ source, text: source });
function requirement(atLeast: ChannelLevel, parts: { dane?: boolean; webpki?: boolean } = {}): TlsRequirement {
  return {
    atLeast,
    because: from("floor"),
    webpki: { referenceIdentifiers: ["mx.test"], demanded: parts.webpki === true, because: from("mta-sts") },
    ...(parts.dane !== undefined && {
      dane: {
        baseDomain: "mx.test" as Domain,
        records: [],
        referenceIdentifiers: [],
        demanded: parts.dane,
        because: from("dane"),
        key: "k",
      },
    }),
  };
}

describe("a requirement against what the host gives (RFC 7672 §2.2, RFC 8461 §5, RFC 8689 §4.2.1)", () => {
  const columns: [what: string, outcome: TlsOutcome][] = [
    ["clear", clear],
    ["TLS, nothing proven", tls(false, false)],
    ["TLS, WebPKI only", tls(true, false)],
    ["TLS, DANE only", tls(false, true)],
    ["TLS, both", tls(true, true)],
    ["TLS, both, by a weak suite", weakSuite],
  ];
  const rows: [what: string, requirement: TlsRequirement, sent: string][] = [
    ["opportunistic", requirement("clear"), "yyyyyy"],
    ["encrypted, or TLSA records that are all unusable", requirement("encrypted"), "nyyyyy"],
    ["authenticated by whichever proof", requirement("authenticated"), "nnyyyn"],
    ["DANE", requirement("authenticated", { dane: true }), "nnnyyn"],
    ["MTA-STS enforce", requirement("authenticated", { webpki: true }), "nnynyn"],
    ["DANE and MTA-STS", requirement("authenticated", { dane: true, webpki: true }), "nnnnyn"],
    ["DANE watched only, opportunistic", requirement("clear", { dane: false }), "yyyyyy"],
    ["DANE demanded whatever the level", requirement("clear", { dane: true }), "nnnyyn"],
    ["MTA-STS demanded whatever the level", requirement("clear", { webpki: true }), "nnynyn"],
  ];
  for (const [what, demanded, sent] of rows)
    for (const [index, [given, outcome]] of columns.entries()) {
      const may = sent[index] === "y";
      test(`${what}; ${given}: ${may ? "send" : "skip"}`, () => expect(meetsRequirement(outcome, demanded)).toBe(may));
    }
});

describe("what is unmet names the failure and who demanded", () => {
  const both = requirement("authenticated", { dane: true, webpki: true });
  const cases: [what: string, outcome: TlsOutcome, requirement: TlsRequirement, detail: string, source: string][] = [
    ["a passing MTA-STS check never rescues DANE (RFC 8461 §2)", tls(true, false), both, "dane failed", "dane"],
    ["a passing DANE check never rescues MTA-STS (RFC 8461 §5)", tls(false, true), both, "webpki failed", "mta-sts"],
    ["clear text, by DANE first", clear, both, "in clear", "dane"],
    ["clear text, by MTA-STS", clear, requirement("authenticated", { webpki: true }), "in clear", "mta-sts"],
    ["clear text, by the floor", clear, requirement("encrypted"), "in clear", "floor"],
    ["a weak suite, by DANE", weakSuite, both, "weak suite", "dane"],
    ["a weak suite, by MTA-STS", weakSuite, requirement("authenticated", { webpki: true }), "weak suite", "mta-sts"],
    ["nothing proven, by the floor", tls(false), requirement("authenticated"), "unproven", "floor"],
    [
      "a session that was never compared with these records",
      tls(true),
      requirement("authenticated", { dane: true }),
      "the session was not compared with the TLSA records of mx.test",
      "dane",
    ],
  ];
  for (const [what, outcome, demanded, detail, source] of cases)
    test(what, () => expect(findUnmet(outcome, demanded)).toMatchObject({ failure: { detail }, because: { source } }));
});

test("the levels are in order", () => {
  const levels = ["clear", "encrypted", "authenticated"] as const;
  for (const [high, level] of levels.entries())
    for (const [low, least] of levels.entries()) expect(isAtLeast(level, least)).toBe(high >= low);
});
