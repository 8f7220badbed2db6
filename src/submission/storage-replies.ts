/** What a client hears when the queue takes no mail: it keeps its message (RFC 5321 §4.2.5). */
import { StorageFull, type StorageTrouble } from "../queue/store.ts";

/** `minimumFree` in octets, where it is known. */
export function troubleReply(trouble: StorageTrouble, minimumFree: number | undefined): string {
  if (trouble === "failed") return "452 4.3.1 the queue cannot be written, not accepting mail. [relay/storage]";
  const room = minimumFree === undefined ? "disk nearly full" : `disk under ${Math.round(minimumFree / 2 ** 20)} MiB free`;
  return `452 4.3.1 ${room}, not accepting mail. [relay/disk]`;
}

export function storageReply(error: unknown, minimumFree: number | undefined): string {
  return error instanceof StorageFull
    ? troubleReply("full", minimumFree)
    : "451 4.3.0 the queue could not take the message, try again later. [relay/storage]";
}
