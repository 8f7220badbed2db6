/**
 * Mail as its receiver reads it, by programs that are not ours: Python's email package for the parts of a report, mailauth for
 * DKIM, with the records that the lab's DNS serves.
 */
import { spawn } from "node:child_process";
import { verify } from "../../dkim/verifier.ts";
import { FIXED } from "../world/addresses.ts";
import { textsAt } from "./reporting.ts";

export interface ReadMail {
  /** By name, lower case; values unfolded, one for each field. */
  readonly fields: Readonly<Record<string, readonly string[]>>;
  readonly type: string;
  readonly reportType: string | null;
  readonly parts: readonly {
    readonly type: string;
    readonly disposition: string | null;
    readonly fileName: string | null;
    readonly encoding: string | null;
    readonly octets: string;
  }[];
  /** The last part, unpacked. */
  readonly document: string;
  readonly defects: readonly string[];
}

const PYTHON = `
import base64, email, email.policy, gzip, json, sys
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
fields = {}
for name, value in m.items():
    fields.setdefault(name.lower(), []).append(str(value))
parts = list(m.iter_parts())
print(json.dumps({
    "fields": fields,
    "type": m.get_content_type(),
    "reportType": m.get_param("report-type"),
    "parts": [{
        "type": p.get_content_type(),
        "disposition": p.get_content_disposition(),
        "fileName": p.get_filename(),
        "encoding": p["content-transfer-encoding"],
        "octets": base64.b64encode(p.get_payload(decode=True)).decode(),
    } for p in parts],
    "document": gzip.decompress(parts[-1].get_payload(decode=True)).decode("utf-8"),
    "defects": [repr(d) for d in m.defects] + [repr(d) for p in parts for d in p.defects],
}))
`;

export async function readMail(octets: Buffer): Promise<ReadMail> {
  const child = spawn("python3", ["-c", PYTHON], { stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.end(octets);
  const chunks: Buffer[] = [];
  for await (const chunk of child.stdout as AsyncIterable<Buffer>) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString("utf8")) as ReadMail;
}

/** `rsa-sha256 pass`, one line for each signature, sorted. */
export async function verifyInLab(message: Buffer, now: number): Promise<string[]> {
  const records = new Map<string, string>();
  for (const { name } of signaturesOf(message)) {
    for (const text of await textsAt(FIXED.unbound, name)) records.set(name, text);
  }
  return (await verify(message, records, now)).sort();
}

export interface Signature {
  /** Where its key's record stands. */
  readonly name: string;
  readonly domain: string;
  readonly tags: Readonly<Record<string, string>>;
}

export function signaturesOf(message: Buffer): Signature[] {
  const header = message.toString("latin1", 0, Math.max(0, message.indexOf("\r\n\r\n"))).replace(/\r\n[ \t]+/g, " ");
  return header
    .split("\r\n")
    .filter((field) => /^DKIM-Signature:/i.test(field))
    .map((field) => {
      const pairs = field
        .slice(field.indexOf(":") + 1)
        .split(";")
        .map((pair) => [pair.slice(0, pair.indexOf("=")).trim(), pair.slice(pair.indexOf("=") + 1).trim()]);
      const tags = Object.fromEntries(pairs) as Record<string, string>;
      return { name: `${tags["s"]}._domainkey.${tags["d"]}`, domain: tags["d"] ?? "", tags };
    });
}
