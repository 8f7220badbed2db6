/** What we rely on inside smtp-server; an upgrade that changes any of it must be looked at, not discovered. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describe, expect, test } from "vitest";
import { SMTPServer } from "smtp-server";
import { SMTPConnection } from "smtp-server/lib/smtp-connection.js";
import { SMTPStream } from "smtp-server/lib/smtp-stream.js";
import { GuardedConnection } from "../../src/submission/guarded-connection.ts";
import { GuardedServer } from "../../src/submission/guarded-server.ts";
import { GuardedStream } from "../../src/submission/guarded-stream.ts";

const require = createRequire(import.meta.url);
const json = (path: string) => JSON.parse(readFileSync(path, "utf8")) as { version: string; dependencies: Record<string, string> };

describe("smtp-server", () => {
  test("is exactly the version that was read", () => {
    expect(json(require.resolve("smtp-server/package.json")).version).toBe("3.21.6");
    expect(json(new URL("../../package.json", import.meta.url).pathname).dependencies["smtp-server"]).toBe("3.21.6");
  });

  const overridden: [name: string, ours: object, theirs: object, methods: string[]][] = [
    [
      "SMTPConnection",
      GuardedConnection.prototype,
      SMTPConnection.prototype,
      ["init", "_createParser", "_onCommand", "_armTimeout", "_onTimeout", "_onError", "_onClose", "close", "send"],
    ],
    ["SMTPServer", GuardedServer.prototype, SMTPServer.prototype, ["updateSecureContext", "_acceptSocket", "_upgrade", "connect"]],
    ["SMTPStream", GuardedStream.prototype, SMTPStream.prototype, ["_write", "_flushData"]],
  ];
  for (const [name, ours, theirs, methods] of overridden)
    for (const method of methods)
      test(`${name}.${method} is there, and ours is in its place`, () => {
        expect(typeof Reflect.get(theirs, method)).toBe("function");
        expect(Object.hasOwn(ours, method)).toBe(true);
        expect(Reflect.get(ours, method)).not.toBe(Reflect.get(theirs, method));
      });

  test("what we call without replacing it is there", () => {
    for (const method of ["upgrade", "_setListeners", "_whenWritable"])
      expect(typeof Reflect.get(SMTPConnection.prototype, method)).toBe("function");
  });

  test("still calls what we replaced, in the places we know", () => {
    const source = (file: string) =>
      readFileSync(new URL(file, `file://${require.resolve("smtp-server/package.json").replace("package.json", "dist/esm/")}`), "utf8");
    const connection = source("smtp-connection.js");
    // The retired parser drops what came in clear behind STARTTLS, and the TLS session has a new one.
    expect(connection).toMatch(/this\._parser\.isClosed = true;\s+this\._parser = this\._createParser\(\);\s+this\._upgrading = true;/);
    // Only here the library shows the TLS socket of a handshake.
    expect(connection).toMatch(/this\._armTimeout\(tlsSocket\)/);
    expect(connection).toMatch(/secureContext: server\.secureContext\.get\('\*'\)/);
    const server = source("smtp-server.js");
    expect(server).toMatch(/let release = this\._acceptSocket\(socket, handshake\);\s+if \(!release\) \{\s+return;/);
    expect(server).toMatch(/this\._upgrade\(socket, \(err, tlsSocket\) =>/);
    expect(server).toMatch(/this\.updateSecureContext\(\);/);
  });
});
