/**
 * Keeps the buffers that large bodies leave behind from gathering. They lie outside V8's heap, and V8 looks for dead ones
 * only after some 64 MB of them: a dozen large messages at once would make that the size of the process. A collection of
 * the young generation takes about a millisecond and frees nearly all.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

type Collect = (options: { readonly type: "minor" }) => void;

/** Octets of large bodies between two collections. */
const EVERY = 8 * 1024 * 1024;

let collect: Collect | undefined;
let passed = 0;

/** So many octets of a large body have passed through memory, in or out. */
export function noteLargeOctets(octets: number): void {
  passed += octets;
  if (passed < EVERY) return;
  passed = 0;
  collect ??= findCollector();
  collect({ type: "minor" });
}

function findCollector(): Collect {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as Collect;
}
