/** Waits and sizes that contradict each other, or that a timer cannot keep. */
import { error, type Finding, note } from "./finding.ts";
import { type Key, keyAt, type Path, rootKey } from "./keys.ts";
import type { Settings } from "./settings.ts";
import { formatDuration, formatSize } from "./units.ts";

/** setTimeout takes 31 bits of milliseconds, and runs at once what is to wait longer. */
const LONGEST_TIMER = 24 * 86_400_000;
/** Waits that are dates in the database rather than timers. */
const DATES = new Set([
  "giveUpAfter",
  "giveUpAfterNullSender",
  "keepFinished",
  "longest",
  "longestTtl",
  "waits",
  "remember",
  "banWindow",
  "ban",
  "destinationDown",
  "refreshUnused",
  "keep",
  "overlap",
]);
const MAY_BE_ZERO = new Set([
  "failureDelay",
  "ban",
  "banWindow",
  "remember",
  "idle",
  "keepFinished",
  "longestTtl",
  "destinationDown",
  "keep",
  "spread",
]);

export function checkWaits(settings: Settings): Finding[] {
  const findings: Finding[] = [];
  eachValue(settings, rootKey, [], (path, key, value) => {
    if (key.kind !== "value" || key.type !== "duration" || typeof value !== "number") return;
    const name = String(path.findLast((step) => typeof step === "string"));
    const zeroAllowed = MAY_BE_ZERO.has(name) && !(name === "idle" && path[0] === "submission");
    if (value === 0 && !zeroAllowed) findings.push(error("must be longer than nothing", path));
    if (value > LONGEST_TIMER && !DATES.has(name)) findings.push(error(`must not be longer than ${formatDuration(LONGEST_TIMER)}`, path));
  });
  const { retry } = settings.delivery;
  const retryPath = (name: string): Path => ["delivery", "retry", name];
  for (const [index, wait] of retry.waits.entries()) {
    if (wait > retry.longest)
      findings.push(
        error(
          `is longer than delivery.retry.longest (${formatDuration(retry.longest)})`,
          [...retryPath("waits"), index],
          retryPath("longest"),
        ),
      );
  }
  for (const name of ["giveUpAfter", "giveUpAfterNullSender"] as const) {
    if (retry[name] < (retry.waits[0] ?? 0))
      findings.push(error(`is over before the first retry (${formatDuration(retry.waits[0] ?? 0)})`, retryPath(name), retryPath("waits")));
  }
  const { limits } = settings.submission;
  if (limits.session < limits.idle)
    findings.push(
      error(
        `is shorter than submission.limits.idle (${formatDuration(limits.idle)})`,
        ["submission", "limits", "session"],
        ["submission", "limits", "idle"],
      ),
    );
  return findings;
}

export function checkSizes({ submission: { limits }, data }: Settings): Finding[] {
  const findings: Finding[] = [];
  const at = (name: string): Path => ["submission", "limits", name];
  // RFC 5321 §4.5.3.1.7; also what `messageSize: 25` comes to when 25M was meant.
  if (limits.messageSize < 64 * 1024)
    findings.push(
      error(
        `${formatSize(limits.messageSize)} octets are less than the 64K that RFC 5321 §4.5.3.1.7 asks for${limits.messageSize < 1024 ? `; did you mean ${limits.messageSize}M?` : ""}`,
        at("messageSize"),
      ),
    );
  else if (limits.headerSize > limits.messageSize)
    findings.push(error("is more than a whole message may have (submission.limits.messageSize)", at("headerSize"), at("messageSize")));
  if (limits.connectionsPerAddress > limits.connections)
    findings.push(note("is more than submission.limits.connections, which holds", at("connectionsPerAddress"), at("connections")));
  if (data.settlementReserve > data.minimumFree) {
    findings.push(
      error(
        "is more than data.minimumFree, so delivery would stop before mail is refused",
        ["data", "settlementReserve"],
        ["data", "minimumFree"],
      ),
    );
  }
  if (data.folder.trim() === "") findings.push(error("must name a folder", ["data", "folder"]));
  return findings;
}

/** Calls back for every value of the settings, with its key. */
function eachValue(value: unknown, key: Key, path: Path, visit: (path: Path, key: Key, value: unknown) => void): void {
  if (value === undefined) return;
  visit(path, key, value);
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) if (key.kind === "list") eachValue(item, key.item, [...path, index], visit);
  } else if (typeof value === "object" && value !== null) {
    for (const [name, item] of Object.entries(value)) {
      const child = keyAt([...path, name]);
      if (child !== undefined) eachValue(item, child, [...path, name], visit);
    }
  }
}
