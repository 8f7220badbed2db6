/** `postern queue ls|summary|why|retry` and `postern mailq`: options in, a request to the relay, its answer as text or JSON. */
import type { Command } from "commander";
import type { Answers, Request } from "../admin/handlers.ts";
import { parseDuration } from "../config/units.ts";
import { parseNextHop } from "../mail/domain.ts";
import type { EntrySummary } from "../queue/store.ts";
import { confirm } from "./ask.ts";
import type { Connection } from "./connection.ts";
import { CliFailure, EXIT, parseLimit, print } from "./io.ts";
import { renderList, renderMailq, renderSummary } from "./list-text.ts";
import type { Shared } from "./shared.ts";
import { plural, renderJson } from "./words.ts";
import { renderWhy } from "./why-text.ts";

interface FilterOptions {
  from?: string;
  to?: string;
  domain?: string;
  reason?: string;
  older?: string;
  state?: string;
  id?: string[];
}

type Filter = Request<"queue/retry">["filter"];

export function registerQueueCommands(program: Command, shared: Shared): void {
  const { io } = shared;
  const queue = program.command("queue").description("see what waits and why, and try again");

  withFilters(queue.command("ls").description("list messages, oldest first"))
    .option("--limit <n>", "how many", parseLimit, 100)
    .option("--after <cursor>", "go on after a page that ended with this")
    .action((options: FilterOptions & { limit: number; after?: string }) =>
      shared.withConnection("either", async (connection) => {
        const answer = await connection.ask("queue/list", {
          filter: parseFilter(options, io.clock.now()),
          limit: options.limit,
          ...(options.after !== undefined && { after: options.after }),
        });
        await print(io.stdout, shared.json() ? renderJson(answer) : renderList(answer, io.clock.now()));
        return EXIT.ok;
      }),
    );

  queue
    .command("summary")
    .description("destinations by age of their mail, with the reason and whose move it is")
    .option("--limit <n>", "how many destinations", parseLimit, 20)
    .action((options: { limit: number }) =>
      shared.withConnection("either", async (connection) => {
        const answer = await connection.ask("queue/summary", { limit: options.limit });
        await print(io.stdout, shared.json() ? renderJson(answer) : renderSummary(answer));
        return EXIT.ok;
      }),
    );

  queue
    .command("why <id>")
    .description("everything known about one message: who said no, under which demand, the evidence, who acts, what to do meanwhile")
    .option("--all", "every attempt, not the last alone")
    .action((id: string, options: { all?: true }) =>
      shared.withConnection("either", async (connection) => {
        const answer = await connection.ask("queue/story", { id: id.toUpperCase() });
        if (shared.json()) await print(io.stdout, renderJson(answer));
        if (answer.message === undefined) {
          throw new CliFailure(
            EXIT.no,
            `no message ${JSON.stringify(id)}: finished ones are kept for data.keepFinished; postern queue ls shows what waits`,
          );
        }
        if (!shared.json()) await print(io.stdout, renderWhy(answer, { all: options.all === true }));
        return EXIT.ok;
      }),
    );

  withFilters(queue.command("retry [ids...]").description("make waiting messages due now; ids, or a filter, or --everything"))
    .option("--everything", "all that waits")
    .option("--dry-run", "only say how many")
    .option("-y, --yes", "do not ask")
    .action((ids: string[], options: FilterOptions & { everything?: true; dryRun?: true; yes?: true }) =>
      shared.withConnection("either", (connection) => retry(connection, ids, options, shared)),
    );

  program
    .command("mailq")
    .description("the queue in the layout of postqueue -p")
    .action(() =>
      shared.withConnection("either", async (connection) => {
        const entries = await listUnfinished(connection);
        await print(io.stdout, shared.json() ? renderJson({ entries }) : renderMailq(entries));
        return EXIT.ok;
      }),
    );
}

function withFilters(command: Command): Command {
  return command
    .option("--from <address>", "sender: an address, or a domain")
    .option("--to <address>", "recipient: an address, or a domain")
    .option("--domain <name>", "destination: the domain the message goes to next")
    .option("--reason <type>", "like certificate-expired; see docs/reasons.md")
    .option("--older <age>", "received longer ago than 30m, 4h, 2d")
    .option("--state <state>", "waiting (or deferred), active, finished")
    .option("--id <id...>", "queue ids");
}

async function retry(
  connection: Connection,
  ids: string[],
  options: FilterOptions & { everything?: true; dryRun?: true; yes?: true },
  shared: Shared,
): Promise<number> {
  const { io } = shared;
  const all = [...ids, ...(options.id ?? [])];
  const filter = { ...parseFilter({ ...options, ...(all.length > 0 && { id: all }) }, io.clock.now()), state: "waiting" as const };
  if (Object.keys(filter).length === 1 && options.everything !== true)
    throw new CliFailure(EXIT.usage, "say which: ids, a filter like --domain example.org, or --everything");
  // Only a person is asked: scripts said what they want. Nothing but time is lost by a retry too many.
  const asks = options.yes !== true && io.stdin.isTTY === true && all.length === 0;
  if (options.dryRun === true || asks) {
    const { entries } = await connection.ask("queue/retry", { filter, dryRun: true });
    if (options.dryRun === true) {
      await print(io.stdout, shared.json() ? renderJson({ entries, dryRun: true }) : `${plural(entries, "message")} would be tried now.\n`);
      return entries > 0 ? EXIT.ok : EXIT.no;
    }
    if (entries > 0 && !(await confirm(`Try ${plural(entries, "message")} now?`, io))) {
      await print(io.stderr, "Nothing was changed.\n");
      return EXIT.no;
    }
  }
  const done = await connection.ask("queue/retry", { filter });
  const when = connection.running ? "due now" : "due when the relay starts";
  const text =
    done.entries === 0
      ? "Nothing that waits matches.\n"
      : `${plural(done.entries, "message")} to ${plural(done.nextHops.length, "destination")} ${when}.\n`;
  await print(io.stdout, shared.json() ? renderJson(done) : text);
  return done.entries > 0 ? EXIT.ok : EXIT.no;
}

async function listUnfinished(connection: Connection): Promise<EntrySummary[]> {
  const entries: EntrySummary[] = [];
  for (const state of ["active", "waiting"] as const) {
    let after: string | undefined;
    do {
      const page: Answers["queue/list"] = await connection.ask("queue/list", {
        filter: { state },
        limit: 1000,
        ...(after !== undefined && { after }),
      });
      entries.push(...page.entries);
      after = page.next;
    } while (after !== undefined);
  }
  return entries.sort((one, other) => one.receivedAt - other.receivedAt);
}

function parseFilter(options: FilterOptions, now: number): Filter {
  const filter: Filter = {};
  if (options.id !== undefined) filter.ids = options.id.map((id) => id.toUpperCase());
  if (options.from !== undefined) filter.from = options.from;
  if (options.to !== undefined) filter.to = options.to;
  if (options.reason !== undefined) filter.reason = options.reason;
  if (options.domain !== undefined) {
    const nextHop = parseNextHop(options.domain);
    if (!nextHop.ok) throw new CliFailure(EXIT.usage, `--domain: ${nextHop.error}`);
    filter.nextHop = nextHop.value;
  }
  if (options.older !== undefined) {
    const age = parseDuration(options.older);
    if (age === undefined) throw new CliFailure(EXIT.usage, `--older: ${JSON.stringify(options.older)} is no age like 30m, 4h or 2d`);
    filter.receivedBefore = now - age;
  }
  if (options.state !== undefined) {
    const state = options.state === "deferred" ? "waiting" : options.state;
    if (state !== "waiting" && state !== "active" && state !== "finished")
      throw new CliFailure(EXIT.usage, "--state: waiting, active or finished");
    filter.state = state;
  }
  return filter;
}
