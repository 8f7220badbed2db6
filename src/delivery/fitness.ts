/**
 * Whether a host can take a message at all (RFC 1870 §6, RFC 1652 §3, RFC 6531 §3.2, RFC 8689 §4.2.1): what the message needs and what
 * the host offers in; for each recipient nothing, or why another host must be found, out. Decided before MAIL is said:
 * nothing is ever sent to a host that did not say it understands it. Pure.
 */
import { needsSmtpUtf8 } from "../mail/address.ts";
import type { DeliveryProblem } from "../queue/settlement.ts";
import type { Extensions } from "./extensions.ts";
import { problem } from "./problems.ts";
import type { RecipientReport, Transaction } from "./session.ts";

/** One place for each recipient, in order; undefined where the host may be asked. */
export function findUnfit(transaction: Transaction, extensions: Extensions, host: string): (RecipientReport | undefined)[] {
  const all = unfitForAll(transaction, extensions, host);
  if (all !== undefined) return transaction.recipients.map(() => all);
  if (extensions.smtpUtf8) return transaction.recipients.map(() => undefined);
  return transaction.recipients.map(({ address }) =>
    needsSmtpUtf8(address)
      ? elsewhere(problem("needs-smtputf8", "sender", `${host} takes no internationalised addresses (SMTPUTF8)`, { status: "5.6.7", host }))
      : undefined,
  );
}

function unfitForAll(transaction: Transaction, extensions: Extensions, host: string): RecipientReport | undefined {
  const { sender, needs, body, requireTls } = transaction;
  if (requireTls === "required" && !extensions.requireTls) {
    return elsewhere(
      problem(
        "requiretls-not-offered",
        "sender",
        `the message may only go to hosts that keep it protected, and ${host} does not offer REQUIRETLS`,
        {
          host,
        },
      ),
    );
  }
  if (extensions.sizeLimit !== undefined && body.size > extensions.sizeLimit) {
    return elsewhere(
      problem("message-too-big", "sender", `the message has ${body.size} octets, and ${host} takes ${extensions.sizeLimit}`, {
        status: "5.3.4",
        host,
      }),
    );
  }
  if (!extensions.smtpUtf8 && needsSmtpUtf8(sender)) {
    return elsewhere(
      problem("needs-smtputf8", "sender", `the sender's address is internationalised, and ${host} takes no such addresses (SMTPUTF8)`, {
        status: "5.6.7",
        host,
      }),
    );
  }
  if (!extensions.smtpUtf8 && needs.utf8Headers) {
    return elsewhere(
      problem("needs-smtputf8", "sender", `the message has internationalised header fields, and ${host} takes none (SMTPUTF8)`, {
        status: "5.6.9",
        host,
      }),
    );
  }
  // Converting to a 7-bit encoding would break signatures, so nobody does it on the way (RFC 1652 §3 allows to fail).
  if (!extensions.eightBitMime && needs.eightBit) {
    return elsewhere(
      problem("needs-8bitmime", "sender", `the message has 8-bit text, and ${host} takes none (8BITMIME)`, { status: "5.6.3", host }),
    );
  }
  return undefined;
}

function elsewhere(found: DeliveryProblem): RecipientReport {
  return { kind: "elsewhere", problem: found, permanent: true };
}
