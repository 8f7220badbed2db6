/**
 * `postern send`: a message from a file or standard input, submitted by SMTP to the running relay's own listener, so that
 * it takes the way of every other message. With `--wait` it stays until the message is delivered, bounced or deferred.
 */
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import type { Readable } from "node:stream";
import type { Command } from "commander";
import type { Answers, ListenerStatus } from "../admin/handlers.ts";
import { parseDuration } from "../config/units.ts";
import { parseAddress } from "../mail/address.ts";
import { formatAddressLiteral } from "../mail/domain.ts";
import { messageOf } from "../thrown.ts";
import type { Connection } from "./connection.ts";
import { CliFailure, type CliIo, EXIT, print } from "./io.ts";
import { describeProblem, describeState } from "./list-text.ts";
import { composeMessage } from "./compose.ts";
import type { Shared } from "./shared.ts";
import { describeTimeNear, renderJson, shown } from "./words.ts";

interface SendOptions {
  from: string;
  to: string[];
  subject?: string;
  body?: string;
  wait?: true;
  timeout: string;
}

export function registerSendCommand(program: Command, shared: Shared): void {
  program
    .command("send [file]")
    .description(
      "submit a message to the running relay: a file or standard input with header and body, or one made of --subject and --body",
    )
    .requiredOption("--from <address>", "envelope sender; <> is the null path")
    .requiredOption("--to <address...>", "recipients")
    .option("--subject <text>", "makes the header; the file or standard input is the body then")
    .option("--body <text>", "makes the body, too")
    .option("--wait", "stay until it is delivered, bounced or deferred, and say which")
    .option("--timeout <time>", "how long --wait stays", "60s")
    .action((file: string | undefined, options: SendOptions) =>
      shared.withConnection("relay", (connection) => send(connection, file, options, shared)),
    );
}

async function send(connection: Connection, file: string | undefined, options: SendOptions, shared: Shared): Promise<number> {
  const { io } = shared;
  const timeout = parseDuration(options.timeout);
  if (timeout === undefined) throw new CliFailure(EXIT.usage, `--timeout: ${JSON.stringify(options.timeout)} is no time like 30s or 5m`);
  const sender = options.from === "<>" || options.from === "" ? "" : checkAddress("--from", options.from);
  const recipients = options.to.map((to) => checkAddress("--to", to));
  const { relay } = await connection.ask("status", {});
  const listener = chooseListener(relay?.listeners ?? []);
  if (listener === undefined)
    throw new CliFailure(EXIT.tempFail, "the relay has no listener that takes mail without login; see postern status");
  const { response, refused } = await submit(listener, {
    sender,
    recipients,
    message: await openMessage(file, options, sender, recipients, io),
  });
  const id = /queued as ([0-9A-Z]+)/i.exec(response)?.[1];
  if (id === undefined) throw new CliFailure(EXIT.software, `the relay took the message but named no queue id: ${shown(response)}`);
  for (const { recipient, reply } of refused) await print(io.stderr, `postern: refused for ${shown(recipient)}: ${reply}\n`);
  const shortfall = refused.length > 0 ? EXIT.unavailable : EXIT.ok;
  if (options.wait !== true) {
    await print(io.stdout, shared.json() ? renderJson({ id, ...(refused.length > 0 && { refused }) }) : `queued as ${id}\n`);
    if (!shared.json() && io.stdout.isTTY === true) await print(io.stderr, `What becomes of it: npx postern queue why ${id}\n`);
    return shortfall;
  }
  if (!shared.json()) await print(io.stdout, `queued as ${id}\n`);
  const story = await waitForVerdict(connection, id, timeout, io);
  await print(
    io.stdout,
    shared.json()
      ? renderJson({ id, ...(refused.length > 0 && { refused }), entries: story.entries })
      : story.entries.map((entry) => `${describeVerdict(entry, story.now)}\n`).join(""),
  );
  return shortfall === EXIT.ok ? exitCodeOf(story) : shortfall;
}

function checkAddress(option: string, text: string): string {
  const inner = /^<(.*)>$/.exec(text)?.[1] ?? text;
  const address = parseAddress(inner);
  if (!address.ok) throw new CliFailure(EXIT.usage, `${option} ${JSON.stringify(text)}: ${address.error}`);
  return address.value;
}

/** The first open listener that asks for no login; one that needs no TLS if there is such. */
function chooseListener(listeners: readonly ListenerStatus[]): ListenerStatus | undefined {
  const usable = listeners.filter((listener) => listener.open && listener.login !== "required");
  return usable.find((listener) => listener.tls === "off" || listener.tls === "starttls") ?? usable[0];
}

/** A wildcard is reached by loopback; anything else is dialled as it stands. */
function dialAddress(address: string): string {
  if (address === "0.0.0.0") return "127.0.0.1";
  return address === "::" ? "::1" : address;
}

async function openMessage(
  file: string | undefined,
  options: SendOptions,
  sender: string,
  recipients: readonly string[],
  io: CliIo,
): Promise<Readable | string> {
  const makesHeader = options.subject !== undefined || options.body !== undefined;
  if (options.body !== undefined) {
    if (file !== undefined) throw new CliFailure(EXIT.usage, "--body and a file: keep one");
    return composeMessage({ sender, recipients, subject: options.subject ?? "", body: options.body });
  }
  const input = file === undefined || file === "-" ? io.stdin : await openFile(file);
  if (input === io.stdin && io.stdin.isTTY === true)
    await print(io.stderr, `Type the ${makesHeader ? "body" : "message, header first"}; end with Ctrl-D.\n`);
  if (!makesHeader) return input;
  return composeMessage({ sender, recipients, subject: options.subject ?? "", body: await readBounded(input) });
}

async function openFile(file: string): Promise<Readable> {
  try {
    const handle = await open(file);
    const isFile = (await handle.stat()).isFile();
    await handle.close();
    if (!isFile) throw new Error("not a file");
    return createReadStream(file);
  } catch (error) {
    throw new CliFailure(EXIT.noInput, `${file} cannot be read: ${messageOf(error)}`, error);
  }
}

/** A body that we put a header before; a whole message is streamed instead, however large. */
const BODY_LIMIT = 32 * 1024 ** 2;

async function readBounded(input: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of input as AsyncIterable<Buffer | string>) {
    const octets = Buffer.from(chunk);
    size += octets.length;
    if (size > BODY_LIMIT) throw new CliFailure(EXIT.dataError, "the body is larger than 32 MB; send a whole message as a file");
    chunks.push(octets);
  }
  return Buffer.concat(chunks).toString("utf8");
}

interface Submission {
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly message: Readable | string;
}

interface Submitted {
  /** The reply to the message: it was taken for at least one recipient. */
  readonly response: string;
  readonly refused: readonly { readonly recipient: string; readonly reply: string }[];
}

/** Submits to one listener. Throws a CliFailure when the message was not taken at all. */
async function submit(listener: ListenerStatus, { sender, recipients, message }: Submission): Promise<Submitted> {
  const { default: SMTPConnection } = await import("nodemailer/lib/smtp-connection");
  const address = dialAddress(listener.address);
  const needsTls = listener.tls === "implicit" || listener.tls === "require";
  const connection = new SMTPConnection({
    host: address,
    port: listener.port,
    name: formatAddressLiteral(address),
    secure: listener.tls === "implicit",
    ignoreTLS: !needsTls,
    requireTLS: listener.tls === "require",
    // The relay told us over its own 0600 socket where it listens; its certificate is for its public name, not this address.
    tls: { rejectUnauthorized: false },
    connectionTimeout: 10_000,
    greetingTimeout: 30_000,
    logger: false,
  });
  try {
    await new Promise<void>((resolve, reject) => {
      connection.on("error", reject);
      connection.connect((error?: Error | null) => (error ? reject(error) : resolve()));
    });
    const info = await new Promise<{ response: string; rejected: readonly unknown[]; rejectedErrors?: readonly Error[] | undefined }>(
      (resolve, reject) => {
        connection.on("error", reject);
        connection.send({ from: sender, to: [...recipients], use8BitMime: true }, message, (error, result) => {
          if (error || result === undefined || result === null) reject(error ?? new Error("no answer"));
          else resolve(result);
        });
      },
    );
    const refused = info.rejected.map((recipient, at) => {
      const error: { response?: string; message?: string } | undefined = info.rejectedErrors?.[at];
      return { recipient: String(recipient), reply: shown(error?.response ?? error?.message ?? "refused") };
    });
    return { response: info.response, refused };
  } catch (error) {
    throw submissionFailure(error, `${listener.address}:${listener.port}`);
  } finally {
    connection.close();
  }
}

function submissionFailure(error: unknown, where: string): CliFailure {
  const { response, responseCode, message } = error as { response?: string; responseCode?: number; message?: string };
  const said = shown(response ?? message ?? String(error));
  if (responseCode !== undefined && responseCode >= 500)
    return new CliFailure(EXIT.unavailable, `the relay refused the message: ${said}`, error);
  return new CliFailure(
    EXIT.tempFail,
    responseCode === undefined
      ? `the relay's listener ${where} could not be used: ${said}`
      : `the relay does not take the message now: ${said}`,
    error,
  );
}

const POLL = 250;

/** Waits until nothing is under way any more and every entry has had its first verdict, or the time is up. */
async function waitForVerdict(connection: Connection, id: string, timeout: number, io: CliIo): Promise<Answers["queue/story"]> {
  const end = io.clock.monotonic() + timeout;
  for (;;) {
    const story = await connection.ask("queue/story", { id });
    const isDecided =
      story.entries.length > 0 &&
      story.entries.every((entry) => entry.state === "finished" || (entry.state === "waiting" && entry.problem !== undefined));
    if (isDecided || io.clock.monotonic() >= end) return story;
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
}

function describeVerdict(entry: Answers["queue/story"]["entries"][number], now: number): string {
  const to = entry.recipients
    .map((recipient) => `${shown(recipient.address)}${entry.recipients.length > 1 ? ` (${recipient.state})` : ""}`)
    .join(", ");
  const why = entry.problem === undefined ? "" : `: ${describeProblem(entry.problem, 300)}`;
  const next =
    entry.state === "waiting" && entry.nextAttempt !== undefined ? `; next try ${describeTimeNear(entry.nextAttempt, now)} UTC` : "";
  const hint = entry.problem === undefined ? "" : `\n  postern queue why ${entry.id}`;
  return `${describeState(entry)} to ${to}${why}${next}${hint}`;
}

function exitCodeOf(story: Answers["queue/story"]): number {
  const states = story.entries.flatMap((entry) => entry.recipients.map((recipient) => recipient.state));
  if (states.some((state) => state === "failed" || state === "expired" || state === "dropped")) return EXIT.unavailable;
  return states.length > 0 && states.every((state) => state === "delivered") ? EXIT.ok : EXIT.tempFail;
}
