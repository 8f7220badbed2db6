/**
 * Facts, rules and TLS sessions as lines for people, in the same words in `queue why` and in `check`. Pure: the plain values
 * of policy/evidence.ts and policy/outcome.ts in, lines without line ends out. Everything foreign passes `shown`.
 */
import type { Rule } from "../policy/decision.ts";
import { authenticatedWord, type HostEvidence, type NextHopEvidence, type StsEvidence, type TlsaEvidence } from "../policy/evidence.ts";
import type { DnssecState } from "../policy/facts.ts";
import type { ShownWish } from "../queue/reporting-wish.ts";
import type { CertificateEvidence, TlsFailure, TlsOutcome, TlsSession, WebPkiVerdict } from "../policy/outcome.ts";
import { describeMinute, describeSpan, plural, shown } from "./words.ts";

/** Digests stand in full: whoever runs the host compares them. */
const RECORD_SHOWN = 80;

/** Who gets the TLS reports of a domain, one destination a line. */
export function describeWish(reportDomain: string, wish: ShownWish): string[] {
  const name = `_smtp._tls.${shown(reportDomain, 255)}`;
  switch (wish.kind) {
    case "failed":
      return [`unknown: the look-up of ${name} failed: ${shown(wish.detail)}`];
    case "none":
      return [`nobody: ${name} asks for no reports: ${shown(wish.detail)}`];
    case "destinations":
      return [...wish.destinations.map(({ uri }) => shown(uri, 300)), ...wish.ignored.map((one) => `not used: ${shown(one, 300)}`)];
  }
}

/** `mode enforce, id 2026…; lists mx1.example.org; fetched …, valid to …`. `now`: when the facts were used. */
export function describeSts(sts: StsEvidence, now: number): string[] {
  switch (sts.kind) {
    case "not-asked":
      return [`not asked: ${shown(sts.why)}`];
    case "none":
      return sts.trouble === undefined
        ? ["no policy found"]
        : [`the look-up of the record failed: ${shown(sts.trouble.detail)}; counts as none (RFC 8461 §3.1)`];
    case "unavailable":
      return [`announced, and could not be had: ${shown(`${sts.failure.type}: ${sts.failure.detail}`)}; mail goes as if there were none`];
    case "policy": {
      const { mode, id, mx, fetchedAt, expires, trouble } = sts;
      const lines = [
        `${mode}, id ${shown(id, 40)}, fetched ${describeMinute(fetchedAt)} (${describeSpan(now - fetchedAt)} old), valid to ${describeMinute(expires)}`,
      ];
      if (mx.length > 0) lines.push(`lists ${shown(mx.join(", "), 200)}`);
      if (trouble !== undefined) lines.push(`kept, though the latest look at it failed: ${shown(`${trouble.type}: ${trouble.detail}`)}`);
      return lines;
    }
  }
}

export function describeMx(mx: NonNullable<NextHopEvidence["mx"]>, now: number): string {
  if (mx.kind === "failed") return `the look-up failed: ${shown(mx.detail)}`;
  const what = { records: "records", none: "none, so the domain is its own host", "no-such-name": "the domain does not exist" }[mx.kind];
  return `${what}; ${signed(mx.security)}, ${freshness(mx.expires, now)}`;
}

export function describeDnssec(kind: DnssecState["kind"]): string {
  switch (kind) {
    case "validating":
      return "the resolver validates";
    case "untested":
      return "the resolver's AD bit is believed; its self-test had no answer yet";
    case "untrusted":
      return "no AD bit of this resolver may be believed, so no answer counts as signed and DANE is off";
    case "blind":
      return "the resolver does not validate: no answer counts as signed and DANE is off (resolver-blind)";
  }
}

/** Beside a blind resolver where published policy is only watched. */
export const BLIND_WATCHED = "published policy would hold back mail to a domain that is known to use DANE: resolver-blind";

export function describeTlsaEvidence(tlsa: TlsaEvidence, now: number): string[] {
  switch (tlsa.kind) {
    case "not-asked":
      return [`no TLSA records asked for: ${shown(tlsa.why)}`];
    case "none":
      return [
        tlsa.security === "insecure"
          ? `no TLSA records that DNSSEC proves at ${shown(tlsa.asked.join(", "), 200)}`
          : `no TLSA records at ${shown(tlsa.asked.join(", "), 200)}, and that is signed`,
      ];
    case "records":
      return [
        `TLSA records of ${shown(tlsa.baseDomain, 255)}, signed, ${freshness(tlsa.expires, now)}:`,
        ...tlsa.records.map((record) => `  ${shown(record, RECORD_SHOWN)}`),
      ];
    case "failed":
      return [`the TLSA look-up for ${shown(tlsa.asked, 255)} failed: ${shown(tlsa.detail)}`];
  }
}

/** What proves that it is the right host, whoever answers there. */
export function describeProof({ host, addresses }: HostEvidence): string {
  const by = {
    none: "MX unproven: neither DNSSEC nor an MTA-STS policy says that it is a host of this domain",
    "sts-listed": "right host: listed by the MTA-STS policy",
    dnssec: "right host: its MX record is signed",
    named: "right host: named by the operator, or by the recipient's address itself",
  }[host];
  return addresses === undefined ? by : `${by}; addresses ${signed(addresses)}`;
}

const EFFECTS: Readonly<Record<Rule["effect"], string>> = {
  won: "won",
  holds: "holds too",
  watched: "watched",
  idle: "no demand",
};

/** It says how far published policy counts; the demand that decided is another one. */
function isAside({ source }: Rule): boolean {
  return source === "published" || source === "tls-optional";
}

/** The rule that decided first, then those that must hold besides, those that were only watched, those with nothing to say. */
export function describeRules(rules: readonly Rule[]): string[] {
  const order: readonly Rule["effect"][] = ["won", "holds", "watched", "idle"];
  return order.flatMap((effect) =>
    rules
      .filter((rule) => rule.effect === effect)
      .map((rule) => {
        const section = rule.section === "" ? "" : ` (${rule.section})`;
        const word = isAside(rule) ? "set aside" : EFFECTS[effect];
        return `${word.padEnd(10)} ${shown(`${rule.text}: ${rule.says}${section}`, 300)}`;
      }),
  );
}

/** What published policy would have stopped, where it does not bind. */
export function describeWatched(wouldHaveFailed: HostEvidence["wouldHaveFailed"]): string[] {
  return (wouldHaveFailed ?? []).map(
    ({ failure, because }) =>
      `published policy would have stopped this: ${shown(`${failure.type}: ${failure.detail} (${because.text})`, 300)}`,
  );
}

/** A session as attempts from before schema version 2 have it: one failure, or one name, in place of the verdicts. */
interface StoredOutcome {
  readonly referenceIdentifier?: string;
  readonly session: Omit<TlsSession, "webpki"> & { readonly webpki?: WebPkiVerdict };
}

/** `proof`: what is known of the host's name. `told`: what has been said beside it and need not be said twice. */
export function describeTls(outcome: TlsOutcome, proof: HostEvidence["host"] | undefined, told = ""): string[] {
  if (outcome.kind === "clear") return [`no TLS: ${shown(outcome.because.detail)}`];
  const { session, referenceIdentifier }: StoredOutcome = outcome;
  const channel = `${shown(session.protocol, 20)} ${shown(session.cipher, 60)}`;
  const verdicts = describeVerdicts(session, referenceIdentifier, told);
  const head =
    outcome.kind === "encrypted"
      ? `encrypted, not authenticated: ${channel}; ${shown(outcome.because.type)}`
      : `${authenticatedWord(session.dane?.held, proof)}: ${channel}`;
  return [head, ...verdicts, ...describeChain(session.chain)];
}

function describeVerdicts({ webpki, dane }: StoredOutcome["session"], formerName: string | undefined, told: string): string[] {
  const lines: string[] = [];
  const isTold = ({ detail }: TlsFailure): boolean => told.includes(detail);
  if (dane !== undefined && (dane.held || !isTold(dane.failure))) {
    lines.push(
      dane.held
        ? `DANE holds: matches TLSA ${shown(dane.record, RECORD_SHOWN)} of ${shown(dane.baseDomain, 255)}${dane.referenceIdentifier === undefined ? "" : `, for ${shown(dane.referenceIdentifier, 255)}`}`
        : `DANE fails: ${shown(`${dane.failure.type}: ${dane.failure.detail}`)}`,
    );
  }
  const name = webpki?.held === true ? webpki.referenceIdentifier : formerName;
  if (name !== undefined) lines.push(`certificate of a trusted CA for ${shown(name, 255)}`);
  else if (webpki?.held === false && !isTold(webpki.failure))
    lines.push(`WebPKI fails: ${shown(`${webpki.failure.type}: ${webpki.failure.detail}`)}`);
  return lines;
}

function describeChain(chain: readonly CertificateEvidence[]): string[] {
  const [leaf, ...above] = chain;
  if (leaf === undefined) return ["no certificate was shown"];
  const names = leaf.names.slice(0, 5).join(", ") || "no DNS name";
  const more = leaf.names.length > 5 ? ` and ${leaf.names.length - 5} more` : "";
  const lines = [
    `certificate for ${shown(names, 200)}${more}; ${day(leaf.validFrom)} to ${day(leaf.validTo)}; issuer ${shown(leaf.issuer, 100)}; ${shown(leaf.key, 40)}`,
    `sha256 ${shown(leaf.sha256, 64)}`,
  ];
  if (above.length > 0)
    lines.push(
      `with ${plural(above.length, "more certificate")}: ${above.map(({ subject, validTo }) => `${shown(subject, 60)} to ${day(validTo)}`).join("; ")}`,
    );
  return lines;
}

/** The certificate's own date text when it is no date we can read. */
function day(text: string): string {
  const time = Date.parse(text);
  return Number.isNaN(time) ? shown(text, 40) : describeMinute(time);
}

function signed(security: "secure" | "insecure"): string {
  return security === "secure" ? "signed" : "not signed";
}

/** An answer is good for its TTL (RFC 2181 §8): how long that still was when it was used. */
function freshness(expires: number, now: number): string {
  return expires <= now ? "its time is over" : `good for ${describeSpan(expires - now)}`;
}
