/**
 * What stories of TLS reports and of DKIM share: a relay that is asked at its control socket, collectors of reports, a day that
 * ends, keys whose records are published as `postern dkim dns` shows them.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { isDeepStrictEqual } from "node:util";
import { gunzipSync } from "node:zlib";
import type { Answers } from "../../../src/admin/handlers.ts";
import { boundsOf, type ReportDay, reportDayOf, type TlsReport } from "../../../src/queue/tls-reports.ts";
import { rfcSchema } from "../../report/rfc-schema.ts";
import type { CommandResult, LogEvent } from "../../support/relay.ts";
import { SmtpClient } from "../../support/submit.ts";
import { waitUntil } from "../../support/temp.ts";
import { askRelay } from "../check.ts";
import type { Site } from "../site.ts";
import type { Stage } from "../stage.ts";
import { FIXED } from "../world/addresses.ts";
import { askServer } from "../world/ask.ts";
import { PolicyHost } from "../world/policy-hosts.ts";

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;

export const noon = (): number => boundsOf(reportDayOf(Date.now())).begin + 12 * HOUR;
export const today = (stage: Stage): ReportDay => reportDayOf(stage.clock.now());

export const open = { tls: { floor: "opportunistic" } };

/** The domain of reports, in a zone that changes; keys are published there. */
export function makeSender(makeSite: (label: string) => Site): Site {
  const sender = makeSite("sender");
  sender.own({ signing: "none", ttl: 1 });
  return sender;
}

export const reportsFrom = (site: (label: string) => Site) => ({
  tlsReports: { from: `tls@${site("sender").domain}`, organization: "Lab Sender" },
});

export function same(stage: Stage, what: string, was: unknown, wanted: unknown): void {
  stage.expect(`${what}: ${JSON.stringify(was)} should be ${JSON.stringify(wanted)}`, isDeepStrictEqual(was, wanted));
}

export async function ask<V extends keyof Answers>(stage: Stage, verb: V, body: object = {}): Promise<Answers[V]> {
  const text = await askRelay(stage.relay, verb, body);
  const answer = JSON.parse(text) as Answers[V] & { error?: string };
  if (answer.error !== undefined) throw new Error(`${verb}: ${answer.error}`);
  return answer;
}

/** What a command wrote must be so, and its exit code. */
export async function command(
  stage: Stage,
  args: readonly string[],
  status: number,
  ...words: (RegExp | string)[]
): Promise<CommandResult> {
  const result = await stage.relay.run(args);
  const wrote = result.stdout + result.stderr;
  stage.expect(`postern ${args.join(" ")} ends with ${status}, not ${result.status}: ${wrote}`, result.status === status);
  for (const word of words)
    stage.expect(
      `postern ${args.join(" ")} says ${String(word)}: ${wrote}`,
      typeof word === "string" ? wrote.includes(word) : word.test(wrote),
    );
  return result;
}

/** A whole message to one recipient; its queue id. */
export async function handIn(stage: Stage, sender: string, recipient: string, content: string | Buffer): Promise<string> {
  const client = await SmtpClient.open(stage.relay.port());
  try {
    return await client.submit(sender, [recipient], content);
  } finally {
    client.close();
  }
}

export interface Post {
  readonly method: string;
  readonly url: string;
  readonly type: string;
  readonly encoding: string | undefined;
  readonly body: Buffer;
}

/** An HTTPS collector of reports in a site's zone, with a certificate of the lab's CA, that keeps what is posted to it. */
export class Collector extends PolicyHost {
  readonly posts: Post[] = [];
  /** The status for a post, which is the last of `posts`; 0 hangs up. */
  answer: (post: Post) => number | Promise<number> = () => 200;

  constructor(site: Site, address: string = FIXED.policyHosts) {
    super(`collector.${site.domain}`, (request, response) => void this.#take(request, response));
    site.record(this.name, "A", address);
    site.policyHosts.push(this);
  }

  uri(path = "/"): string {
    return `https://${this.name}${path}`;
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const { method = "", url = "", headers } = request;
    const type = headers["content-type"] ?? "";
    const post: Post = { method, url, type, encoding: headers["content-encoding"], body: Buffer.concat(chunks) };
    this.posts.push(post);
    const status = await this.answer(post);
    if (status === 0) request.socket.destroy();
    else response.writeHead(status, status === 307 ? { Location: this.uri("/moved") } : {}).end();
  }
}

export function collectorOf(stage: Stage, label: string): Collector {
  const found = stage.site(label).policyHosts.find((host) => host instanceof Collector);
  if (found === undefined) throw new Error(`${label} has no collector`);
  return found;
}

/** The domain asks for reports. */
export function askForReports(site: Site, ...rua: readonly string[]): void {
  site.record(`_smtp._tls.${site.domain}`, "TXT", `"v=TLSRPTv1; rua=${rua.join(",")}"`);
}

/**
 * Time passes, and the relay looks for reports that are due: a reload wakes it also when the time passed in the middle of such a
 * look, which would else be followed by the next one after a minute.
 */
export async function later(stage: Stage, milliseconds: number): Promise<void> {
  await untilIdle(stage);
  await stage.pass(milliseconds);
  if (stage.relay.running) await askRelay(stage.relay, "reload", {});
}

/** An attempt in whose middle the time passes meets its timeouts. One that is meant to last is waited for only so long. */
async function untilIdle(stage: Stage): Promise<void> {
  for (let tries = 0; tries < 60 && stage.relay.running; tries++) {
    const { totals } = await ask(stage, "queue/summary");
    if (totals.active === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Until 00:20 of the next UTC day, when its reports are made; the day that is over. */
export async function endDay(stage: Stage): Promise<ReportDay> {
  const day = today(stage);
  await later(stage, boundsOf(day).end + 1 - stage.clock.now() + 20 * MINUTE);
  await waitUntil(`reports of ${day}`, async () => (await reportsOf(stage, day)).length > 0);
  return day;
}

export async function reportsOf(stage: Stage, day: ReportDay): Promise<Answers["tlsrpt/list"]["reports"]> {
  return (await ask(stage, "tlsrpt/list", { day })).reports;
}

export async function reportOf(stage: Stage, label: string, day: ReportDay): Promise<TlsReport | undefined> {
  return (await ask(stage, "tlsrpt/show", { domain: stage.site(label).domain, day })).report;
}

/** The report when it is over. A mail of it is looked after by the relay's clock, which goes on once the mail has been settled. */
export function endOf(stage: Stage, label: string, day: ReportDay): Promise<TlsReport> {
  return waitUntil(
    `the end of the report of ${day} for ${label}`,
    async () => {
      const report = await reportOf(stage, label, day);
      if (report?.endedAt !== undefined) return report;
      const queued = report?.destinations.filter(({ state }) => state === "queued") ?? [];
      if (queued.length > 0 && queued.every(({ queueId = "" }) => settledOf(stage, queueId).length > 0)) await later(stage, 5 * MINUTE);
      return undefined;
    },
    30_000,
  );
}

export const settledOf = (stage: Stage, id: string): LogEvent[] =>
  stage.relay.events.filter((event) => event.event === "recipient-settled" && event["id"] === id);

export type Document = ReturnType<typeof rfcSchema.parse>;

/** By the schema that was written from the RFC. */
export function readDocument(text: string): Document {
  return rfcSchema.parse(JSON.parse(text));
}

export const unpack = (octets: Buffer): Document => readDocument(gunzipSync(octets).toString("utf8"));

/** Successes and failures by policy type. */
export function totalsOf(document: Document): Record<string, [successes: number, failures: number]> {
  return Object.fromEntries(
    document.policies.map(({ policy, summary }) => [
      policy["policy-type"],
      [summary["total-successful-session-count"], summary["total-failure-session-count"]],
    ]),
  );
}

/** TXT records of a name as a server gives them, strings joined. */
export async function textsAt(server: string, name: string): Promise<string[]> {
  const { answers = [] } = await askServer(server, name, "TXT", 5000);
  return answers.flatMap((record) => (record.type === "TXT" ? [[record.data].flat().map(String).join("")] : []));
}

/** Puts into the zone what `postern dkim dns` shows as lines of a zone file, and lets the relay look. */
export async function publishKeys(stage: Stage, label: string): Promise<void> {
  const { stdout } = await command(stage, ["dkim", "dns", stage.site(label).domain], 0);
  const lines = [...stdout.matchAll(/^(\S+)\. IN TXT (.+)$/gm)];
  if (lines.length === 0) throw new Error(`no records in ${stdout}`);
  for (const [, name = "", data = ""] of lines) {
    const text = [...data.matchAll(/"([^"]*)"/g)].map(([, string]) => string).join("");
    if ((await textsAt(FIXED.nsd, name)).includes(text)) continue;
    await stage.changeZone(label, name, "TXT", [data]);
  }
}
