/**
 * A report's destinations, tried in the order of the record until one accepts (RFC 8460 §3): what is known of each in, what became of
 * each and what is to follow out. A mail that was queued is neither accepted nor lost: what stands behind it waits for a while.
 */
import type { PosternEvent } from "../events.ts";
import type { ReportDestination, TlsReport, TlsReportStore } from "../queue/tls-reports.ts";
import { compress } from "./compress.ts";
import type { HostLimit } from "./host-limit.ts";
import { type MailOutIo, queueMail } from "./mail-out.ts";
import type { PostReport } from "./post.ts";
import type { Rua } from "./rua.ts";
import { isSuppressed, knownAs } from "./suppress.ts";

export interface DestinationsIo extends MailOutIo {
  readonly reports: Pick<TlsReportStore, "findRua">;
  readonly post: PostReport;
  readonly hostLimit: HostLimit;
  /** Reports to one receiving host within a day. */
  readonly perHost: number;
  readonly stop: AbortSignal;
}

export interface Trying {
  readonly report: TlsReport & { readonly document: string };
  readonly now: number;
  /** Somebody asked for it by name: suppressed destinations are tried too. */
  readonly ordered: boolean;
}

/**
 * - `accepted`, `queued`: by or for this destination, now;
 * - `waiting`: a mail of before is still on its way;
 * - `again`: worth another try; `tomorrow`: when its host has room for reports again;
 * - `over`: not any more;
 * - `stopped`: the relay stops, and nothing is known.
 */
type Verdict = "accepted" | "queued" | "waiting" | "again" | "tomorrow" | "over" | "stopped";

export interface Tried {
  readonly destinations: readonly ReportDestination[];
  readonly verdicts: ReadonlySet<Verdict>;
  readonly events: readonly PosternEvent[];
}

export async function tryInOrder(ruas: readonly Rua[], trying: Trying, io: DestinationsIo): Promise<Tried> {
  const before = new Map(trying.report.destinations.map((destination) => [destination.uri, destination]));
  const destinations: ReportDestination[] = [];
  const verdicts = new Set<Verdict>();
  const events: PosternEvent[] = [];
  let octets: Buffer | undefined;
  const compressed = (): Buffer => (octets ??= compress(trying.report.document));

  for (const rua of ruas) {
    const known = before.get(rua.uri) ?? { uri: rua.uri, state: "untried" };
    before.delete(rua.uri);
    if (verdicts.has("accepted") || verdicts.has("queued") || verdicts.has("stopped")) {
      destinations.push(known);
      continue;
    }
    const [destination, verdict] = await tryOne(rua, known, trying, io, compressed, events);
    destinations.push(destination);
    verdicts.add(verdict);
  }
  // The record names it no more, yet its mail is on its way.
  for (const destination of before.values()) {
    if (destination.state !== "queued") continue;
    destinations.push(destination);
    verdicts.add("waiting");
  }
  return { destinations, verdicts, events };
}

async function tryOne(
  rua: Rua,
  known: ReportDestination,
  { report, now, ordered }: Trying,
  io: DestinationsIo,
  compressed: () => Buffer,
  events: PosternEvent[],
): Promise<[ReportDestination, Verdict]> {
  const { uri } = rua;
  if (known.state === "queued") return [known, "waiting"];
  // The queue has tried for as long as it does, or heard a refusal: another mail would fare no better.
  if (known.state === "failed" && known.queueId !== undefined) return [known, "over"];
  const record = ordered ? undefined : await io.reports.findRua(knownAs(uri, report.reportDomain));
  if (isSuppressed(record, now)) {
    const until = new Date(record.suppressedUntil).toISOString();
    return [
      { uri, state: "suppressed", detail: `it refused ${record.refusals} reports in a row, and is left alone until ${until}`, at: now },
      "over",
    ];
  }
  const full = io.hostLimit.admit(rua, report.id, now, io.perHost);
  if (full !== undefined) {
    const detail = `${full.host} got ${io.perHost} reports today, and gets no more (tlsReports.perHost)`;
    if (full.isNews) events.push({ kind: "notice", level: "warn", text: `${detail}: the others wait until midnight UTC` });
    return [{ uri, state: "failed", detail, at: now }, "tomorrow"];
  }
  if (rua.kind === "mailto") {
    const destination = await queueMail(rua, report, now, io);
    return [destination, destination.state === "queued" ? "queued" : "again"];
  }
  const result = await io.post(rua.url, compressed(), io.stop);
  const { detail } = result;
  if (result.ok) return [{ uri, state: "accepted", detail, at: now }, "accepted"];
  if (result.stopped) return [known, "stopped"];
  return [{ uri, state: "failed", detail, at: now, ...(result.refused && { refused: true }) }, "again"];
}
