/** An attempt's record keeps its JSON, however much of it is shared. */
import { expect, test } from "vitest";
import type { AttemptRecord, HostReport } from "../../src/queue/settlement.ts";
import { attemptText } from "../../src/store/sqlite/attempt-text.ts";
import { authenticatedAs } from "../support/policy-facts.ts";

const tls = authenticatedAs("mx.test");
const policy = { host: "none", tlsa: { kind: "not-asked", why: 'a "test"' }, rules: [] } as const;
const problem = { type: "rejected", detail: "no\n", whoActs: "sender", status: "5.0.0" } as const;
const hosts: HostReport[] = [
  { host: "mx1.test", step: "skipped", problem },
  { host: "mx2.test", address: "192.0.2.1", port: 25, step: "done", tls, policy, reused: true },
  { host: "mx3.test", step: "handshake", policy },
];
const record: AttemptRecord = { startedAt: 1, endedAt: 2, demanded: "authenticated", hosts };

test("the text says what the record says", () => {
  for (const one of [record, { ...record, hosts: [] }, { ...record, problem }])
    expect(JSON.parse(attemptText(one))).toEqual(JSON.parse(JSON.stringify(one)));
});

test("what is shared is written again as it was, and what differs as it is", () => {
  expect(JSON.parse(attemptText(record))).toEqual(JSON.parse(attemptText(record)));
  const other = { ...policy, host: "dnssec" } as const;
  const changed = { ...record, hosts: [{ host: "mx2.test", step: "done", tls, policy: other } as const] };
  expect(JSON.parse(attemptText(changed)).hosts[0].policy.host).toBe("dnssec");
});
