import { describe, expect, test } from "vitest";
import { compareSettings, formatChange } from "../../src/config/reload.ts";
import { settingsOf } from "./support.ts";

const PEM = { "/c.pem": "-----BEGIN CERTIFICATE-----", "/k.pem": "-----BEGIN PRIVATE KEY-----" };

describe("what a new configuration changes", () => {
  const cases: [set: string[], changed: string[], needsRestart: string[]][] = [
    [[], [], []],
    [["tls.floor=encrypted"], ["tls.floor"], []],
    [["tls.domains.a.test.floor=encrypted"], ["tls.domains", 'tls.domains["a.test"].floor'], []],
    [["log.level=debug"], ["log.level"], []],
    [["delivery.retry.longest=5h"], ["delivery.retry.longest"], []],
    [["delivery.relayhost.host=a.test"], ["delivery.relayhost.host", "delivery.relayhost.port", "delivery.relayhost.tls"], []],
    [["submission.certificateFile=/c.pem", "submission.keyFile=/k.pem"], ["submission.certificateFile", "submission.keyFile"], []],
    [["submission.limits.messageSize=30M"], ["submission.limits.messageSize"], []],
    [["submission.networks=127.0.0.0/8"], ["submission.networks"], []],
    [["users.0.name=a", "users.0.password=b"], ["users", "users[0].name", "users[0].password", "users[0].maySendAs"], []],
    [["submission.listeners.0.port=26"], ["submission.listeners[0].port"], ["submission.listeners"]],
    [
      ["submission.listeners.0.port=26", "submission.listeners.1.port=27"],
      ["submission.listeners[0].port", "submission.listeners[1].port"],
      ["submission.listeners"],
    ],
    [["resolver.servers=192.0.2.1", "resolver.timeout=9s"], ["resolver.servers", "resolver.timeout"], ["resolver"]],
    // What is asked of hosts, and how policies are fetched, is asked anew each time; a resolver is started once.
    [["tls.published=report", "tls.host=proven"], ["tls.published", "tls.host"], []],
    [["tls.domains.a.test.published=off"], ["tls.domains", 'tls.domains["a.test"].published'], []],
    [["tls.honourTlsOptional=app", "tls.daneWithUnsignedMx=false"], ["tls.honourTlsOptional", "tls.daneWithUnsignedMx"], []],
    [["tls.mtaSts.fetchTimeout=30s"], ["tls.mtaSts.fetchTimeout"], []],
    [["resolver.managed.forwarders=192.0.2.1"], ["resolver.managed.forwarders"], ["resolver"]],
    [["resolver.selfTest.every=2h"], ["resolver.selfTest.every"], ["resolver"]],
    [["data.minimumFree=300M"], ["data.minimumFree"], ["data.minimumFree"]],
    [["delivery.retry.giveUpAfter=1d", "mailname=a.test"], ["delivery.retry.giveUpAfter", "mailname"], []],
    [["data.folder=/data", "data.keepFinished=1d"], ["data.folder", "data.keepFinished"], ["data.folder"]],
  ];
  for (const [set, changed, needsRestart] of cases) {
    test(set.join(" ") || "nothing", () => {
      const comparison = compareSettings(settingsOf({}), settingsOf({ set, files: PEM }));
      expect([...comparison.changed].sort()).toEqual([...changed].sort());
      expect(comparison.needsRestart).toEqual(needsRestart);
      // And back again.
      expect([...compareSettings(settingsOf({ set, files: PEM }), settingsOf({})).changed].sort()).toEqual([...changed].sort());
    });
  }
  test("changes are told in the units of the file", () => {
    const { changes } = compareSettings(
      settingsOf({}),
      settingsOf({ set: ["delivery.retry.longest=90m", "data.folder=/data", "mailname=a.test"] }),
    );
    expect(changes.map(formatChange)).toEqual([
      "mailname: (not set) → a.test",
      "data.folder: data → /data (at the next start)",
      "delivery.retry.longest: 4h → 1h30m",
    ]);
  });
});
