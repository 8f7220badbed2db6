/** A Maildir that a real receiver fills: what came through, and the trace fields that were put in front on the way. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { waitUntil } from "./temp.ts";

export interface ReceivedMail {
  /** Trace fields as they stand at the top, unfolded; the receiver's own first. */
  readonly trace: readonly string[];
  /** Everything below them, with CRLF line ends: what the client sent, unless the relay had to complete it. */
  readonly content: Buffer;
  /** From the receiver's Delivered-To or Envelope-to field. */
  readonly recipient: string;
}

const TRACE = /^(?:Received|Return-Path|X-Original-To|Delivered-To|Envelope-to|Delivery-date):/i;

/** The file of a mailbox in; trace fields apart from the rest out. Mailboxes keep LF line ends. */
export function parseMail(file: Buffer): ReceivedMail {
  const octets = toCrlf(file);
  const trace: string[] = [];
  let at = 0;
  for (;;) {
    let end = octets.indexOf("\r\n", at);
    if (end === -1) break;
    if (!TRACE.test(octets.toString("latin1", at, Math.min(end, at + 20)))) break;
    // RFC 5322 §2.2.3: a line that begins with white space goes on with the field above it.
    while (octets[end + 2] === 0x20 || octets[end + 2] === 0x09) end = octets.indexOf("\r\n", end + 2);
    trace.push(octets.toString("utf8", at, end).replaceAll(/\r\n\s*/g, " "));
    at = end + 2;
  }
  const to = trace.find((field) => /^(?:Delivered-To|Envelope-to):/i.test(field)) ?? "";
  return { trace, content: octets.subarray(at), recipient: to.replace(/^[^:]*:\s*/, "") };
}

function toCrlf(file: Buffer): Buffer {
  if (file.includes("\r\n")) return file;
  const parts: Buffer[] = [];
  let at = 0;
  for (let end = file.indexOf(10); end !== -1; end = file.indexOf(10, at)) {
    parts.push(file.subarray(at, end), Buffer.from("\r\n"));
    at = end + 1;
  }
  parts.push(file.subarray(at));
  return Buffer.concat(parts);
}

export class Mailbox {
  readonly #folder: string;
  readonly #seen = new Map<string, ReceivedMail>();

  /** `folder` is the Maildir; its `new` may not exist yet. */
  constructor(folder: string) {
    this.#folder = join(folder, "new");
  }

  async read(): Promise<ReceivedMail[]> {
    const names = await readdir(this.#folder).catch(() => []);
    for (const name of names) if (!this.#seen.has(name)) this.#seen.set(name, parseMail(await readFile(join(this.#folder, name))));
    return [...this.#seen.values()];
  }

  /** All mail whose content has this text in its first 4 KB, once there is as much as that. */
  waitFor(marker: string, count = 1): Promise<ReceivedMail[]> {
    return waitUntil(`${count} messages with ${marker} in ${this.#folder}`, async () => {
      const found = (await this.read()).filter((mail) => mail.content.subarray(0, 4096).includes(marker));
      return found.length >= count && found;
    });
  }
}
