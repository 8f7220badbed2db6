/**
 * What strace saw (`-f -y`), judged: was a message synced to the database's log before its 250 went out? Syscalls of
 * other threads interleave, so the start of one and its end may be lines apart.
 */

export interface Syscall {
  readonly thread: string;
  readonly name: string;
  readonly text: string;
  /** Lines of the trace. */
  readonly start: number;
  readonly end: number;
  /** Ended with success, and really happened: an injected result is none. */
  readonly ok: boolean;
}

export function parseTrace(trace: string): Syscall[] {
  const calls: Syscall[] = [];
  const open = new Map<string, { name: string; text: string; start: number }>();
  for (const [index, line] of trace.split("\n").entries()) {
    const resumed = /^(\d+)\s+<\.\.\. (\w+) resumed>(.*)$/.exec(line);
    if (resumed !== null) {
      const [, thread = "", name = "", rest = ""] = resumed;
      const begun = open.get(thread);
      open.delete(thread);
      if (begun?.name === name) calls.push({ thread, name, text: begun.text + rest, start: begun.start, end: index, ok: succeeded(rest) });
      continue;
    }
    const [, thread, name, rest] = /^(\d+)\s+(\w+)\((.*)$/.exec(line) ?? [];
    if (thread === undefined || name === undefined || rest === undefined) continue;
    const unfinished = rest.endsWith("<unfinished ...>");
    if (unfinished) open.set(thread, { name, text: rest.slice(0, -"<unfinished ...>".length), start: index });
    else calls.push({ thread, name, text: rest, start: index, end: index, ok: succeeded(rest) });
  }
  return calls.toSorted((a, b) => a.start - b.start);
}

const succeeded = (text: string): boolean => /\)\s+= (?:0x[0-9a-f]+|\d+)\b(?!.*INJECTED)/.test(text);

/**
 * Undefined if all is well, else what is wrong. `marker` is in the message's text and `id` in the reply; the trace has
 * read, write, writev, pwrite64, fsync and fdatasync.
 */
export function findEarlyReply(trace: string, marker: string, id: string): string | undefined {
  const calls = parseTrace(trace);
  const arrival = calls.find((call) => /^(?:read|recvfrom|recvmsg)/.test(call.name) && call.text.includes(marker));
  if (arrival === undefined) return "the message was not seen to arrive";
  const reply = calls.find(
    (call) => /^(?:write|writev|sendto|sendmsg)$/.test(call.name) && call.text.includes(`queued as ${id}`) && call.text.includes("250 "),
  );
  if (reply === undefined) return "no 250 was seen";
  const isLog = (call: Syscall): boolean => /^\d+<[^>]*\.db-wal>/.test(call.text);
  const writes = calls.filter((call) => call.name === "pwrite64" && isLog(call) && call.start > arrival.end && call.end < reply.start);
  const last = writes.at(-1);
  if (last === undefined) return "nothing was written to the database's log between the message and its 250";
  const synced = calls.some(
    (call) => /^f(?:data)?sync$/.test(call.name) && isLog(call) && call.ok && call.start > (writes[0]?.end ?? 0) && call.end < reply.start,
  );
  return synced ? undefined : "the 250 went out before the database's log was synced";
}
