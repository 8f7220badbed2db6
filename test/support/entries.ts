/** Entries as a store would lease them, for tests of what happens to them afterwards. */
import type { EmailAddress } from "../../src/mail/address.ts";
import type { NextHop } from "../../src/mail/domain.ts";
import type { LeasedEntry, QueueId } from "../../src/queue/entry.ts";

let lastId = 0;

export interface EntryWishes {
  readonly nextHop?: string;
  readonly submitter?: string;
  readonly entryId?: number;
  readonly sender?: string;
  readonly recipients?: readonly string[];
  readonly body?: Buffer;
  readonly attempts?: number;
  readonly receivedAt?: number;
  readonly expiresAt?: number;
}

export function leasedEntry(wishes: EntryWishes = {}): LeasedEntry {
  lastId += 1;
  const { nextHop = "dest.test", body = Buffer.from("Subject: hello\r\n\r\nHello.\r\n"), receivedAt = 0 } = wishes;
  const recipients = wishes.recipients ?? [`jo@${nextHop}`];
  return {
    lease: { entryId: wishes.entryId ?? lastId, generation: 1, until: receivedAt + 3_600_000 },
    message: {
      id: `0TEST${String(lastId).padStart(5, "0")}` as QueueId,
      sender: (wishes.sender ?? "app@sender.test") as EmailAddress,
      origin: { submitter: wishes.submitter ?? "app", listener: "smtp", clientAddress: "127.0.0.1" },
      needs: { eightBit: false, utf8Headers: false },
      receivedAt,
      expiresAt: wishes.expiresAt ?? receivedAt + 5 * 86_400_000,
      size: body.length,
    },
    nextHop: nextHop as NextHop,
    recipients: recipients.map((address, index) => ({
      recipientId: lastId * 1000 + index,
      address: address as EmailAddress,
      nextHop: nextHop as NextHop,
    })),
    attempts: wishes.attempts ?? 0,
    body: {
      size: body.length,
      inMemory: body,
      async *chunks() {
        yield body;
      },
    },
  };
}
