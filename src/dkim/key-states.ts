/**
 * The life of keys, judged: what DNS says of one, which make way for a newer one, which are missing. Keys, settings and
 * findings in, changes out; pure. Obeying is keyring.ts's.
 */
import { type Comparison, compareDkimRecord, type DkimService } from "../mail/dkim-record.ts";
import type { DkimAlgorithm } from "../mail/signing.ts";
import type { Finding } from "../policy/facts.ts";
import type { DkimKey } from "../queue/dkim-keys.ts";
import type { Wanted } from "./wanted.ts";

/** Keys that wait for DNS are looked at so often. */
export const WAITING_CHECK = 5 * 60_000;

/**
 * What a look at DNS says. Without an answer nothing is known, and no state changes for it.
 *
 * What is published decides when a key begins to sign, and never that it stops. A zone that lost a record in somebody's
 * edit would else hold up all mail that is queued for the key, and what comes in after it would go out unsigned; a
 * signature that fails is worth as much as none (RFC 6376 §6.1), so that going on costs nothing and is right again as soon
 * as the record is. The operator is told; a new key comes by `rotate`.
 */
export function judgeRecord(
  key: DkimKey,
  finding: Finding<readonly Buffer[]>,
  uses: readonly DkimService[],
): Comparison | { readonly noAnswer: string } {
  switch (finding.kind) {
    case "failed":
      return { noAnswer: `DNS gave no answer: ${finding.detail}` };
    case "no-such-name":
      return compareDkimRecord([], key, uses);
    case "answer":
      // Octets as characters: what is no ASCII matches nothing.
      return compareDkimRecord(
        finding.records.map((strings) => Buffer.concat(strings).toString("latin1")),
        key,
        uses,
      );
  }
}

/** Is it time to look at the record? */
export function isDue(key: DkimKey, wanted: Wanted, now: number): boolean {
  if (!isLookedAt(key, wanted) || isFresh(key, now)) return false;
  if (key.state === "waiting-for-dns" || key.checkedAt === undefined) return true;
  // Looks are made at a beat, and end a little after it; a clock that was set back must not put them off.
  return key.checkedAt > now || key.checkedAt + wanted.checkEvery - WAITING_CHECK / 2 <= now;
}

/**
 * Made just now: nobody can have published it. A look would only put the denial into caches, for the hour that many zones
 * ask for, and keep the record out of sight once it is there.
 */
export function isFresh(key: DkimKey, now: number): boolean {
  const age = now - key.createdAt;
  return key.checkedAt === undefined && age >= 0 && age < WAITING_CHECK / 2;
}

/** Keys of domains that left the settings are kept as they are: a slip in a file must not cost keys. */
export function isLookedAt(key: DkimKey, wanted: Wanted): boolean {
  return wanted.uses.has(key.domain) && (key.state !== "waiting-for-dns" || wanted.algorithms.includes(key.algorithm));
}

/** Kinds of key of which the domain has none that signs or will. `keys` are the domain's. */
export function findMissing(keys: readonly DkimKey[], { algorithms }: Wanted): DkimAlgorithm[] {
  return algorithms.filter((algorithm) => !keys.some((key) => key.algorithm === algorithm && key.state !== "retiring"));
}

const LETTERS: Record<DkimAlgorithm, string> = { "rsa-sha256": "r", "ed25519-sha256": "e" };

/** `postern2r`: a number above all that the domain has of that kind. */
export function nextSelector(keys: readonly DkimKey[], algorithm: DkimAlgorithm, { selector }: Wanted): string {
  const letter = LETTERS[algorithm];
  const numbers = keys
    .filter((key) => key.selector.startsWith(selector) && key.selector.endsWith(letter))
    .map((key) => Number(key.selector.slice(selector.length, -letter.length)))
    .filter((number) => Number.isSafeInteger(number));
  return `${selector}${Math.max(0, ...numbers) + 1}${letter}`;
}

export interface Succession {
  /** They signed; `by` does so now, so they retire. */
  readonly retire: readonly { readonly key: DkimKey; readonly by: DkimKey }[];
  /** They wait, and a newer one signs already: nobody will need them. */
  readonly drop: readonly DkimKey[];
}

/** Which keys have been followed by another. `keys` are all of one domain. */
export function findSucceeded(keys: readonly DkimKey[], { algorithms }: Wanted): Succession {
  const active = keys.filter((key) => key.state === "active");
  const retire: { key: DkimKey; by: DkimKey }[] = [];
  for (const key of active) {
    const by = active.find(
      (other) =>
        (other.algorithm === key.algorithm && other.createdAt > key.createdAt) ||
        // A kind that is not made any more goes when another signs, and not before.
        (!algorithms.includes(key.algorithm) && algorithms.includes(other.algorithm)),
    );
    if (by !== undefined) retire.push({ key, by });
  }
  const drop = keys.filter(
    (key) =>
      key.state === "waiting-for-dns" && active.some((other) => other.algorithm === key.algorithm && other.createdAt > key.createdAt),
  );
  return { retire, drop };
}

/** When the record of a retiring key may go. */
export function endOfOverlap(key: DkimKey, { overlap }: Wanted): number {
  return key.changedAt + overlap;
}
