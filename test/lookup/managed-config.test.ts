import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { readResolverWords } from "../../src/config/resolver-words.ts";
import { type Settings, settingsSchema } from "../../src/config/settings.ts";
import { prepareAnchor, readAnchors } from "../../src/lookup/managed-anchor.ts";
import { writeConfig } from "../../src/lookup/managed-config.ts";
import { makeTempFolder, type TempFolder } from "../support/temp.ts";

type Managed = Partial<Settings["resolver"]["managed"]>;

const started = { port: 5353, ipv6: false, extendedErrors: true, rootHints: false };

function written(managed: Managed): string {
  const { words, faults } = readResolverWords(settingsSchema.parse({ resolver: { managed } }).resolver);
  expect(faults).toEqual([]);
  return writeConfig(words.managed, { ...started, forwarders: words.managed.forwarders });
}

describe("the configuration", () => {
  test("validates, serves this machine only, and stays in the foreground without leaving traces", () => {
    const lines = written({})
      .split("\n")
      .map((line) => line.trim());
    for (const line of [
      'module-config: "validator iterator"',
      'auto-trust-anchor-file: "root.key"',
      "val-permissive-mode: no",
      "harden-dnssec-stripped: yes",
      "qname-minimisation: yes",
      "ede: yes",
      "serve-expired: no",
      "interface: 127.0.0.1@5353",
      "access-control: 0.0.0.0/0 refuse",
      "access-control: 127.0.0.1/32 allow",
      "do-daemonize: no",
      'chroot: ""',
      'username: ""',
      'pidfile: ""',
      "use-syslog: no",
      "control-enable: no",
    ])
      expect(lines).toContain(line);
    expect(lines.filter((line) => line.startsWith("forward") || line.startsWith("do-not-query"))).toEqual([]);
  });

  const cases: [what: string, more: Managed, lines: string[]][] = [
    [
      "forwarders",
      { forwarders: ["192.0.2.53", "[2001:db8::53]:5353", "192.0.2.54@53"] },
      ["forward-addr: 192.0.2.53", "forward-addr: 2001:db8::53@5353", "forward-addr: 192.0.2.54"],
    ],
    [
      "forwarders over TLS",
      { forwarders: ["tls://192.0.2.53#dns.example"] },
      ["forward-tls-upstream: yes", "forward-addr: 192.0.2.53@853#dns.example", 'tls-cert-bundle: "forwarder-roots.pem"'],
    ],
    [
      "stub zones",
      { stubZones: [{ zone: "Corp.Internal", servers: ["127.0.0.1@5353"] }] },
      ['name: "corp.internal."', "stub-addr: 127.0.0.1@5353", "do-not-query-localhost: no"],
    ],
    [
      "private zones and special names",
      { insecureZones: ["corp.internal", "münchen.example"], localNames: ["test."] },
      ['domain-insecure: "corp.internal."', 'domain-insecure: "xn--mnchen-3ya.example."', 'local-zone: "test." nodefault'],
    ],
  ];
  for (const [what, more, lines] of cases)
    test(`has the ${what}`, () => {
      const text = written(more)
        .split("\n")
        .map((line) => line.trim());
      for (const line of lines) expect(text).toContain(line);
    });
});

describe("the root's keys", () => {
  const one = ". IN DS 1 8 2 AA";
  const other = ".\t172800\tIN\tDNSKEY\t257 3 13 AbCd EfGh== ; a comment";
  const folders: TempFolder[] = [];
  afterEach(async () => {
    for (const folder of folders.splice(0)) await folder[Symbol.asyncDispose]();
  });
  const place = async () => {
    const folder = await makeTempFolder("anchor");
    folders.push(folder);
    const source = join(folder.path, "source");
    const copy = join(folder.path, "root.key");
    return {
      folder: folder.path,
      source,
      copy,
      prepare: () => prepareAnchor(folder.path, undefined, [source]),
      kept: () => readAnchors(readFileSync(copy, "utf8")),
    };
  };

  test("are read as DS and DNSKEY, whatever stands around them", () =>
    expect(readAnchors(`; key\n${one}\n. DS 2 8 2 bb cc\n${other}\nexample. IN DS 3 8 2 AA\n. IN NS a.\n`)).toEqual([
      ". IN DS 1 8 2 AA",
      ". IN DS 2 8 2 BBCC",
      ". IN DNSKEY 257 3 13 AbCdEfGh==",
    ]));

  test("are copied, and the copy is unbound's own to write", async () => {
    const { prepare, source, copy, kept } = await place();
    writeFileSync(source, `${one}\n`);
    expect(prepare()).toEqual({ kind: "ready" });
    expect(kept()).toEqual([one]);
    writeFileSync(copy, `; autotrust\n${other}\n`);
    expect(prepare()).toEqual({ kind: "ready" });
    // What it has learned stays; the former key does not come back at every start (RFC 5011 §2.1).
    expect(kept()).toEqual([". IN DNSKEY 257 3 13 AbCdEfGh=="]);
  });

  test("gain those that a later package brings, and nothing else", async () => {
    const { prepare, source, copy, kept } = await place();
    writeFileSync(source, `${one}\n`);
    prepare();
    writeFileSync(copy, `${other}\n`);
    writeFileSync(source, `${one}\n. IN DS 9 8 2 FF\n`);
    expect(prepare()).toEqual({ kind: "ready" });
    expect(kept()).toEqual([". IN DNSKEY 257 3 13 AbCdEfGh==", ". IN DS 9 8 2 FF"]);
  });

  test("of another file replace them all: that is another root", async () => {
    const { prepare, folder, source, kept } = await place();
    writeFileSync(source, `${one}\n`);
    prepare();
    const named = join(folder, "named");
    writeFileSync(named, ". IN DS 9 8 2 FF\n");
    expect(prepareAnchor(folder, named)).toEqual({ kind: "ready" });
    expect(kept()).toEqual([". IN DS 9 8 2 FF"]);
  });

  test("stay usable when the package goes, and are missing when there never was one", async () => {
    const { prepare, folder, source } = await place();
    expect(prepare()).toMatchObject({ kind: "missing", detail: expect.stringContaining("install the package dns-root-data") });
    writeFileSync(source, `${one}\n`);
    prepare();
    expect(prepareAnchor(folder, undefined, ["/nowhere/root.key"])).toEqual({ kind: "ready" });
  });

  test("cut short by a crash are copied anew", async () => {
    const { prepare, source, copy, kept } = await place();
    writeFileSync(source, `${one}\n`);
    prepare();
    writeFileSync(copy, "; autotrust\n");
    prepare();
    expect(kept()).toEqual([one]);
  });
});
