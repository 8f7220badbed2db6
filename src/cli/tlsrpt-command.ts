/** `postern tlsrpt today|list|show|send|preview|read`: what was counted about TLS with other hosts, and the reports of it (RFC 8460). */
import { createReadStream } from "node:fs";
import type { Readable } from "node:stream";
import type { Command } from "commander";
import type { Answers, Request } from "../admin/handlers.ts";
import { type ReportDay, reportDayOf, type TlsReportState } from "../queue/tls-reports.ts";
import { readReport } from "../report/read.ts";
import { messageOf } from "../thrown.ts";
import type { Connection } from "./connection.ts";
import { CliFailure, type CliIo, EXIT, parseLimit, print } from "./io.ts";
import type { Shared } from "./shared.ts";
import { renderReceived } from "./tlsrpt-read-text.ts";
import { renderCounted, renderNone, renderPreview, renderReport, renderReports, renderSent, renderUncounted } from "./tlsrpt-text.ts";
import { renderJson } from "./words.ts";

const EXAMPLES = `
Examples:
  postern tlsrpt today                  what was counted since midnight UTC, each failure with its host
  postern tlsrpt today --failed         only domains with failures
  postern tlsrpt today example.net      one domain, with the policies that were met
  postern tlsrpt list --state failed    reports that could not be delivered
  postern tlsrpt show example.net       yesterday's report, and what became of it
  postern tlsrpt preview example.net    what a report would say now, and where it would go; sends nothing
  postern tlsrpt send example.net       send yesterday's report now
  postern tlsrpt read report.json.gz    a report that somebody sent to you: JSON, gzip, or the whole mail; - is standard input

DAY is a UTC day: 2026-09-01, today or yesterday.`;

const STATES: readonly TlsReportState[] = ["due", "sending", "sent", "not-asked", "failed"];

interface PageOptions {
  limit: number;
  after?: string;
}

export function registerTlsrptCommands(program: Command, shared: Shared): void {
  const { io } = shared;
  const tlsrpt = program
    .command("tlsrpt")
    .description("TLS with other hosts as it was counted, and the daily reports of it (RFC 8460)")
    .addHelpText("after", EXAMPLES);
  const verb = (usage: string, description: string): Command =>
    tlsrpt.command(usage).description(description).addHelpText("after", EXAMPLES);

  paged(verb("today [domain]", "what was counted: sessions by policy, and each failure with its host"), "domain")
    .option("--day <day>", "another UTC day")
    .option("--failed", "only domains of which a failure was counted")
    .action((domain: string | undefined, options: PageOptions & { day?: string; failed?: true }) =>
      shared.withConnection("either", async (connection) => {
        const { day, failed, ...page } = options;
        const answer = await connection.ask("tlsrpt/today", {
          ...page,
          ...dayOption(day, io),
          ...(domain !== undefined && { domain }),
          ...(failed === true && { failed }),
        });
        await print(io.stdout, shared.json() ? renderJson(answer) : renderCounted(answer, { alone: domain !== undefined }));
        return EXIT.ok;
      }),
    );

  paged(verb("list", "reports, newest day first, with what became of them"), "cursor")
    .option("--day <day>", "of one UTC day")
    .option("--domain <name>", "for one domain")
    .option("--state <state>", STATES.join(", "))
    .action((options: PageOptions & { day?: string; domain?: string; state?: string }) =>
      shared.withConnection("either", async (connection) => {
        const { day, state, ...rest } = options;
        const answer = await connection.ask("tlsrpt/list", { ...rest, ...dayOption(day, io), ...stateOption(state) });
        await print(io.stdout, shared.json() ? renderJson(answer) : renderReports(answer));
        return EXIT.ok;
      }),
    );

  verb("show <domain> [day]", "one report: where it went, and what it says. Default: yesterday's")
    .option("--document", "the JSON text alone, as it was sent")
    .action((domain: string, day: string | undefined, options: { document?: true }) =>
      shared.withConnection("either", async (connection) => {
        const answer = await connection.ask("tlsrpt/show", { domain, ...dayOption(day, io) });
        if (options.document === true) return printDocument(answer.report?.document, renderNone(answer), shared);
        if (shared.json()) await print(io.stdout, renderJson(answer));
        else if (answer.report !== undefined) await print(io.stdout, renderReport(answer));
        return answer.report === undefined ? sayNo(renderNone(answer), shared) : EXIT.ok;
      }),
    );

  verb("send <domain> [day]", "send a report now, also one that was sent before. Default: yesterday's. Exits 1 if it failed").action(
    (domain: string, day: string | undefined) =>
      shared.withConnection("relay", async (connection) => {
        const answer = await sendAndWait(connection, { domain, ...dayOption(day, io) }, io);
        if (shared.json()) await print(io.stdout, renderJson(answer));
        else if (answer.report !== undefined) await print(io.stdout, renderSent(answer));
        return answer.report === undefined ? sayNo(renderNone(answer), shared) : exitCodeOf(answer.report.state);
      }),
  );

  verb("preview <domain>", "what a report would say now, and where it would go; nothing is sent. Exits 1 if it would go nowhere")
    .option("--day <day>", "of another UTC day than today")
    .option("--document", "the JSON text alone, as it would be sent")
    .action((domain: string, options: { day?: string; document?: true }) =>
      shared.withConnection("relay", async (connection) => {
        const answer = await connection.ask("tlsrpt/preview", { domain, ...dayOption(options.day, io) });
        if (options.document === true) return printDocument(answer.document, renderUncounted(answer), shared);
        await print(io.stdout, shared.json() ? renderJson(answer) : renderPreview(answer));
        return answer.document !== undefined && answer.to.kind === "destinations" ? EXIT.ok : EXIT.no;
      }),
    );

  verb("read <file>", "show a report that was received: JSON, gzip, or the whole mail. Needs no relay").action((file: string) =>
    shared.run(async () => {
      const read = readReport(await readFile(file, io));
      if (!read.ok) throw new CliFailure(EXIT.dataError, `${file === "-" ? "what was read" : file} is no TLS report: ${read.error}`);
      await print(io.stdout, shared.json() ? renderJson(read.value) : renderReceived(read.value));
      return EXIT.ok;
    }),
  );
}

function paged(command: Command, what: string): Command {
  return command.option("--limit <n>", "how many", parseLimit, 100).option(`--after <${what}>`, "go on after a page that ended with this");
}

/** `today` and `yesterday` are those of UTC; what is no day at all the relay says. */
function dayOption(text: string | undefined, { clock }: CliIo): { day?: string } {
  if (text === undefined) return {};
  const named: Readonly<Record<string, ReportDay>> = { today: reportDayOf(clock.now()), yesterday: reportDayOf(clock.now() - 86_400_000) };
  return { day: (Object.hasOwn(named, text) ? named[text] : undefined) ?? text };
}

function stateOption(text: string | undefined): { state?: TlsReportState } {
  if (text === undefined) return {};
  const state = STATES.find((one) => one === text);
  if (state === undefined) throw new CliFailure(EXIT.usage, `--state: one of ${STATES.join(", ")}`);
  return { state };
}

async function printDocument(document: string | undefined, whyNone: string, shared: Shared): Promise<number> {
  if (document === undefined) return sayNo(whyNone, shared);
  await print(shared.io.stdout, `${document}\n`);
  return EXIT.ok;
}

async function sayNo(why: string, { io }: Shared): Promise<number> {
  await print(io.stderr, `postern: ${why}\n`);
  return EXIT.no;
}

/** By mail it is on its way once it is in the queue; what becomes of it there `tlsrpt show` tells later. */
function exitCodeOf(state: TlsReportState): number {
  if (state === "sent" || state === "sending") return EXIT.ok;
  return state === "due" ? EXIT.tempFail : EXIT.no;
}

const POLL = 250;
/** Eight destinations may take a while; what is not over by then goes on without us. */
const LONGEST_WAIT = 90_000;

/** Orders it, then waits until this try is over. */
async function sendAndWait(connection: Connection, request: Request<"tlsrpt/send">, io: CliIo): Promise<Answers["tlsrpt/send"]> {
  const ordered = await connection.ask("tlsrpt/send", request);
  if (ordered.report === undefined) return ordered;
  const end = io.clock.monotonic() + LONGEST_WAIT;
  for (;;) {
    const { now, report } = await connection.ask("tlsrpt/show", { domain: ordered.domain, day: ordered.day });
    if (report === undefined) return ordered;
    const isOver = report.state !== "due" || report.dueAt > now;
    const { document: _document, ...shown } = report;
    if (isOver || io.clock.monotonic() >= end) return { ...ordered, now, report: shown };
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
}

/** More than any report that is read; what is longer is refused by its length. */
const READ_LIMIT = 64 * 1024 ** 2;

async function readFile(file: string, io: CliIo): Promise<Buffer> {
  const source: Readable = file === "-" ? io.stdin : createReadStream(file);
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of source as AsyncIterable<Buffer | string>) {
      const octets = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
      chunks.push(octets);
      size += octets.length;
      if (size > READ_LIMIT) break;
    }
  } catch (error) {
    throw new CliFailure(EXIT.noInput, `${file} cannot be read: ${messageOf(error)}`, error);
  }
  return Buffer.concat(chunks);
}
