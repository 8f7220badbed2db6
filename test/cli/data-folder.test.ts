import { describe, expect, test } from "vitest";
import { rooms } from "../../src/cli/assembly.ts";
import { readDataFolder } from "../../src/cli/config-command.ts";
import { findDataFolder } from "../../src/cli/data-folder.ts";
import { FaultySettings } from "../../src/cli/io.ts";
import { PLAIN_MACHINE } from "../../src/config/load.ts";

const readFile = (path: string): string => {
  throw new Error(`${path} is not there`);
};

describe("the data folder of a configuration with faults", () => {
  const files: [name: string, text: string, folder: string | undefined][] = [
    ["a wrong key beside it", "tls:\n  flor: encrypted\ndata:\n  folder: /srv/postern\n", "/srv/postern"],
    ["a wrong key, and no word on it", "tls:\n  flor: encrypted\n", "data"],
    ["no YAML", "tls: [\ndata: # all of it\n\n  # here\n  folder: '/srv/postern' # kept\nlog:\n  level: info\n", "/srv/postern"],
    ["no YAML, and no word on it: a default would be a guess", "tls: [\nlog:\n  folder: /elsewhere\n", undefined],
    ["no YAML, and a folder of another section", "tls: [\ndata:\n  minimumFree: 1\nlog:\n  folder: /elsewhere\n", undefined],
    ["a folder that is no text", "data:\n  folder: [a]\n", undefined],
  ];
  for (const [name, text, folder] of files)
    test(name, () => expect(findDataFolder({ file: { text }, environment: {}, overrides: [], readFile })).toBe(folder));

  test("the command line goes before the environment, and that before the file", () => {
    const file = { text: "tls: [\ndata:\n  folder: /file\n" };
    const environment = { POSTERN__DATA__FOLDER: "/environment", POSTERN__TLS__FLOR: "x" };
    const overrides = [{ path: "data.folder", value: "/line" }];
    expect(findDataFolder({ file, environment, overrides, readFile })).toBe("/line");
    expect(findDataFolder({ file, environment, overrides: [], readFile })).toBe("/environment");
    expect(findDataFolder({ file, environment: { DATA_FOLDER: "/short" }, overrides: [], readFile })).toBe("/short");
  });

  const closed = {
    exists: () => true,
    read: () => {
      throw Object.assign(new Error("EACCES"), { code: "EACCES" });
    },
    machine: () => Promise.resolve(PLAIN_MACHINE),
  };
  test("a file that cannot be read may name any", async () => {
    expect(await readDataFolder({}, {}, closed)).toBeUndefined();
    expect(await readDataFolder({ set: ["data.folder=/line"] }, {}, closed)).toBe("/line");
  });

  test("a wrong --set is for whoever typed it", async () => {
    expect(await readDataFolder({ set: ["data.folder=/line", "floor"] }, {}, { ...closed, exists: () => false })).toBeUndefined();
  });
});

test("a faulty configuration is told as one, with its first error apart", async () => {
  const io = { environment: { POSTERN__TLS__FLOR: "x", POSTERN__DATA__FOLDER: "/srv/postern" } } as unknown as Parameters<
    typeof rooms.readSettings
  >[1];
  const error = await rooms.readSettings({}, io).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(FaultySettings);
  expect((error as FaultySettings).first).toContain("POSTERN__TLS__FLOR");
  expect(await rooms.findDataFolder({}, io)).toBe("/srv/postern");
});
