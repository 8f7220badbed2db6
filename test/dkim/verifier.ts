/** DKIM verified by a program that is not ours (mailauth, strict), with the records it is given instead of DNS. */
import { createHash, createPrivateKey, type KeyObject } from "node:crypto";
import { dkimVerify } from "mailauth/lib/dkim/verify.js";
import { type SigningKey, signFields } from "../../src/mail/dkim.ts";
import { createBodyHash } from "../../src/mail/dkim-body.ts";
import { generateKey, type KeyPair } from "../../src/mail/dkim-key.ts";
import { formatDkimRecord } from "../../src/mail/dkim-record.ts";
import type { Domain } from "../../src/mail/domain.ts";
import type { DkimAlgorithm } from "../../src/mail/signing.ts";

/** Of which the record's strings are cut at 255 octets, as in DNS. */
export type Records = ReadonlyMap<string, string>;

/** `rsa-sha256 pass`, one line for each signature. */
export async function verify(message: Buffer, records: Records, now: number): Promise<string[]> {
  const { results } = await dkimVerify(message, {
    strict: true,
    curTime: new Date(now),
    resolver: (name) => {
      const text = records.get(name);
      if (text === undefined) return Promise.reject(Object.assign(new Error(`no record at ${name}`), { code: "ENOTFOUND" }));
      return Promise.resolve([text.match(/.{1,255}/g) ?? []]);
    },
  });
  return results.map(
    ({ algo, status }) => `${algo ?? "none"} ${status.result}${status.comment === undefined ? "" : ` (${status.comment})`}`,
  );
}

export interface TestKey extends SigningKey, KeyPair {}

export async function makeTestKeys(): Promise<TestKey[]> {
  const kinds: [string, DkimAlgorithm][] = [
    ["postern1r", "rsa-sha256"],
    ["postern1e", "ed25519-sha256"],
  ];
  return Promise.all(
    kinds.map(async ([selector, algorithm]) => {
      const pair = await generateKey(algorithm);
      const key: KeyObject = createPrivateKey(pair.privateKey);
      return { selector, algorithm, key, ...pair };
    }),
  );
}

export function recordsOf(keys: readonly TestKey[], domain: string): Records {
  return new Map(keys.map((key) => [`${key.selector}._domainkey.${domain}`, formatDkimRecord(key)]));
}

/** The message as it goes out: signed fields in front. */
export async function signWhole(message: Buffer, keys: readonly SigningKey[], domain: Domain, now: number): Promise<Buffer> {
  const end = message.indexOf("\r\n\r\n");
  const header = end < 0 ? message : message.subarray(0, end + 2);
  const body = createBodyHash();
  if (end >= 0) body.update(message.subarray(end + 4));
  return Buffer.concat([Buffer.from(await signFields(header, { domain, bodyHash: body.digest() }, keys, now), "latin1"), message]);
}

/** The body hash as the RFC's text says it (§3.4.3), without any thought of speed. */
export function naiveBodyHash(body: Buffer): string {
  let text = body.toString("latin1");
  while (text.endsWith("\r\n")) text = text.slice(0, -2);
  text += "\r\n";
  return createHash("sha256").update(text, "latin1").digest("base64");
}
