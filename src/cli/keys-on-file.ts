/** DKIM keys where no relay runs: what the database keeps can be shown and published; changing it, and looking at DNS, takes a relay. */
import { BadRequest } from "../admin/bad-request.ts";
import type { KeyDesk } from "../admin/dkim.ts";
import { formatRecord, showKey } from "../dkim/shown.ts";
import type { DkimKeyStore } from "../queue/dkim-keys.ts";

export function keysOnFile(store: Pick<DkimKeyStore, "list">): KeyDesk {
  const needsRelay = (): Promise<never> =>
    Promise.reject(new BadRequest("only a running relay makes keys and looks at their records. Start it: postern serve"));
  return {
    list: async () => (await store.list()).map((key) => showKey(key, undefined)),
    dnsRecords: async (domain) => (await store.list()).filter((key) => domain === undefined || key.domain === domain).map(formatRecord),
    rotate: needsRelay,
    checkNow: needsRelay,
  };
}
