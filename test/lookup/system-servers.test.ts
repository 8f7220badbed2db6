import { mkdtempSync, renameSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { describeServer } from "../../src/config/server-address.ts";
import { parseResolvConf, watchSystemServers } from "../../src/lookup/system-servers.ts";
import { MovedClock } from "../support/moved-clock.ts";

test("resolv.conf: its nameservers in order, and nothing else", () => {
  const text = [
    "# nameserver 192.0.2.9",
    "; nameserver 192.0.2.9",
    "search example.test",
    "nameserver 192.0.2.1 # first",
    "options timeout:1",
    "nameserver\tfe80::1%eth0",
    "nameserver resolver.test",
    " nameserver 192.0.2.8",
    "nameserver 2001:DB8::53",
  ].join("\n");
  expect(parseResolvConf(text).map(({ address, port }) => `${address} ${port}`)).toEqual([
    "192.0.2.1 53",
    "fe80::1%eth0 53",
    "2001:db8::53 53",
  ]);
  expect(parseResolvConf("search example.test\n")).toEqual([{ address: "127.0.0.1", port: 53 }]);
});

describe("the system's resolvers", () => {
  const folder = mkdtempSync(join(tmpdir(), "postern-resolv-"));
  const file = join(folder, "resolv.conf");
  afterEach(() => rmSync(file, { force: true }));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test("follow their file, and stay as they were while it is away", async () => {
    const clock = new MovedClock();
    writeFileSync(file, "nameserver 192.0.2.1\n");
    const servers = watchSystemServers(clock, file);
    const addresses = (): string[] => servers().map(describeServer);
    expect(addresses()).toEqual(["192.0.2.1"]);
    writeFileSync(`${file}.new`, "nameserver 192.0.2.2\nnameserver 192.0.2.3\n");
    renameSync(`${file}.new`, file);
    await clock.pass(5_000);
    expect(addresses()).toEqual(["192.0.2.2", "192.0.2.3"]);
    // The list is the same object while nothing changes.
    expect(servers()).toBe(servers());
    unlinkSync(file);
    await clock.pass(5_000);
    expect(addresses()).toEqual(["192.0.2.2", "192.0.2.3"]);
  });

  test("without a file the local machine is asked", () => {
    expect(watchSystemServers(new MovedClock(), file)().map(describeServer)).toEqual(["127.0.0.1"]);
  });
});
