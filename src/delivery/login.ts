/**
 * Our login at a relay host (RFC 4954, RFC 4616): an authenticated connection and a password in; whether the host took it
 * out. The caller has made sure of the TLS: a password goes to nobody else (RFC 4954 §14).
 */
import type { Reply } from "../mail/reply.ts";
import type { Extensions } from "./extensions.ts";
import { isLoss, type Loss, type Wire } from "./wire.ts";

export type LoginResult =
  | { readonly kind: "accepted" }
  | { readonly kind: "refused"; readonly reply: Reply }
  | { readonly kind: "not-offered" }
  | { readonly kind: "lost"; readonly loss: Loss };

export async function logIn(
  wire: Wire,
  extensions: Extensions,
  login: { username: string; password: string },
  wait: number,
): Promise<LoginResult> {
  const base64 = (text: string) => Buffer.from(text, "utf8").toString("base64");
  // LOGIN is older and has no standard, but some hosts offer nothing else.
  const lines = extensions.auth.includes("PLAIN")
    ? [`AUTH PLAIN ${base64(`\0${login.username}\0${login.password}`)}`]
    : extensions.auth.includes("LOGIN")
      ? ["AUTH LOGIN", base64(login.username), base64(login.password)]
      : [];
  for (const [index, line] of lines.entries()) {
    wire.send(`${line}\r\n`, 1);
    const reply = await wire.read(wait, "the reply to AUTH");
    if (isLoss(reply)) return { kind: "lost", loss: reply };
    if (index < lines.length - 1 && reply.code === 334) continue;
    return Math.floor(reply.code / 100) === 2 ? { kind: "accepted" } : { kind: "refused", reply };
  }
  return { kind: "not-offered" };
}
