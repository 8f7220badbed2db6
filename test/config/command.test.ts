import { PassThrough } from "node:stream";
import { Command } from "commander";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { type ConfigFiles, describeConfigErrors, readConfiguration, registerConfigCommand } from "../../src/cli/config-command.ts";
import { CliFailure } from "../../src/cli/io.ts";
import { PLAIN_MACHINE } from "../../src/config/load.ts";

function filesOf(files: Record<string, string>): ConfigFiles {
  return {
    exists: (path) => path in files,
    read: (path) => {
      const text = files[path];
      if (text === undefined) throw Object.assign(new Error(path), { code: "ENOENT" });
      return text;
    },
    machine: async () => PLAIN_MACHINE,
  };
}

interface Answer {
  out: string;
  err: string;
  exitCode: number;
}

async function run(argv: string[], files: Record<string, string> = {}, environment: Record<string, string> = {}): Promise<Answer> {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const program = new Command("postern")
    .option("--config <file>")
    .option("--data <folder>")
    .option("--set <key=value>", "", (value: string, all: string[]) => [...all, value], [])
    .option("--json")
    .exitOverride();
  registerConfigCommand(program, { stdin, stdout, stderr, environment, clock: systemClock }, filesOf(files));
  let failure: { exitCode: number; message: string } | undefined;
  try {
    await program.parseAsync(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CliFailure)) throw error;
    failure = error;
  }
  const text = (stream: PassThrough) => (stream.read() as Buffer | null)?.toString() ?? "";
  return { out: text(stdout), err: `${text(stderr)}${failure?.message ?? ""}`, exitCode: failure?.exitCode ?? 0 };
}

const WRONG = "tls:\n  flor: x\nlog:\n  level: loud\n";

describe("config check", () => {
  test("says ok, and which file", async () => {
    expect(await run(["config", "check", "a.yaml"], { "a.yaml": "log:\n  level: info\n" })).toMatchObject({
      out: "ok a.yaml\n",
      exitCode: 0,
    });
    expect(await run(["config", "check"])).toMatchObject({ out: "ok (no file: defaults and environment)\n", exitCode: 0 });
  });
  test("says all that is wrong, with exit code 78", async () => {
    expect(await run(["config", "check", "a.yaml"], { "a.yaml": WRONG })).toEqual({
      out: "",
      err: 'the configuration has 2 errors:\n  a.yaml:2:3: tls.flor: unknown key, did you mean "floor"?\n  a.yaml:4:10: log.level: expected one of debug, info, warn, error, got "loud"',
      exitCode: 78,
    });
  });
  test("as JSON", async () => {
    const { out, exitCode } = await run(["--json", "config", "check", "a.yaml"], { "a.yaml": WRONG });
    expect(exitCode).toBe(78);
    expect(JSON.parse(out)).toMatchObject({
      ok: false,
      file: "a.yaml",
      errors: [
        { path: "tls.flor", line: 2, column: 3 },
        { path: "log.level", line: 4, column: 10 },
      ],
    });
    expect(JSON.parse((await run(["--json", "config", "check"])).out)).toMatchObject({ ok: true, file: null });
  });
  test("a file that is not there", async () => {
    expect(await run(["config", "check", "b.yaml"])).toMatchObject({
      exitCode: 78,
      err: "the configuration has one error:\n  b.yaml: cannot be read (no such file)",
    });
  });
  test("remarks do not fail", async () => {
    const { err, exitCode } = await run(["--set", "submission.listeners.2.port=465", "config", "check"]);
    expect(exitCode).toBe(0);
    expect(err).toContain("note: submission.listeners[2]: listener submissions is not opened");
  });
  test("untouched defaults need no remark", async () => expect((await run(["config", "check"])).err).toBe(""));
});

describe("config show", () => {
  const file = { "postern.yaml": "delivery:\n  relayhost:\n    host: a.test\n    username: u\n    password: hunter2-correct\n" };
  test("values in the units of the file, secrets hidden, origins on demand", async () => {
    const { out } = await run(["--set", "tls.floor=encrypted", "config", "show", "--origin"], file, { MAILNAME: "mail.a.test" });
    const lines = out.split("\n").map((line) => line.replace(/ {2,}/, "  "));
    expect(lines).toContain("mailname = mail.a.test  # env MAILNAME");
    expect(lines).toContain("tls.floor = encrypted  # --set");
    expect(lines).toContain("delivery.relayhost.password = ***  # postern.yaml:5");
    expect(lines).toContain("delivery.retry.waits = [5m, 15m, 30m]  # default");
    expect(lines).toContain("submission.limits.messageSize = 25M  # default");
    expect(lines).toContain("delivery.sourceAddress4 = (not set)  # default");
    expect((await run(["config", "show"], file)).out).not.toContain("#");
  });
  test("as JSON", async () => {
    const rows = JSON.parse((await run(["--json", "config", "show"], file)).out) as { path: string }[];
    expect(rows.find(({ path }) => path === "delivery.relayhost.password")).toEqual({
      path: "delivery.relayhost.password",
      value: "***",
      origin: "postern.yaml:5",
    });
  });
  test("a faulty configuration is not shown", async () =>
    expect(await run(["config", "show"], { "postern.yaml": WRONG })).toMatchObject({ out: "", exitCode: 78 }));
  test("--data is short for data.folder", async () =>
    expect((await run(["--data", "/x", "config", "show"])).out).toContain("data.folder = /x\n"));
});

describe("config schema and explain-env", () => {
  test("the schema is JSON", async () => expect(JSON.parse((await run(["config", "schema"])).out)).toHaveProperty("properties.tls"));
  test("each variable's meaning", async () => {
    const environment = {
      PATH: "/bin",
      RELAY_HOST: "a.test",
      RELAY_PASS: "hunter2-correct",
      POSTERN__TLS__FLOOR: "encrypted",
      POSTFIX_header_checks: "x",
      POSTERN__X: "1",
      SMTP_USERS: "a:hunter2-correct",
      HOSTNAME: "a.b.test",
    };
    const { out, exitCode } = await run(["config", "explain-env"], {}, environment);
    expect(exitCode).toBe(0);
    expect(out.split("\n").map((line) => line.replace(/ {2,}/, "  "))).toEqual([
      "HOSTNAME  is the mailname if nothing else sets one",
      "POSTERN__TLS__FLOOR  sets tls.floor = encrypted",
      "POSTERN__X  refused: there is no such setting",
      "POSTFIX_header_checks  refused: no equivalent, and it looks as if it restricts or secures something",
      "RELAY_HOST  read as RELAYHOST=[a.test]:25",
      "RELAY_PASS  read as RELAYHOST_PASSWORD=***",
      "SMTP_USERS  sets users",
      "",
    ]);
    expect(JSON.parse((await run(["--json", "config", "explain-env"], {}, environment)).out)).toContainEqual({
      name: "SMTP_USERS",
      meaning: "sets users",
    });
  });
  test("nothing to explain", async () =>
    expect((await run(["config", "explain-env"], {}, { PATH: "/bin" })).out).toBe("No environment variable says anything to Postern.\n"));
});

describe("which file is read", () => {
  const every = { "a.yaml": "", "b.yaml": "", "/etc/postern/postern.yaml": "", "postern.yaml": "", "config/postern.yaml": "" };
  const without = (...names: string[]) => filesOf(Object.fromEntries(Object.entries(every).filter(([name]) => !names.includes(name))));
  test("--config before POSTERN_CONFIG before the usual places, else none", async () => {
    const environment = { POSTERN_CONFIG: "b.yaml" };
    expect((await readConfiguration({ configFile: "a.yaml" }, environment, filesOf(every))).file).toBe("a.yaml");
    expect((await readConfiguration({}, environment, filesOf(every))).file).toBe("b.yaml");
    expect((await readConfiguration({}, {}, filesOf(every))).file).toBe("/etc/postern/postern.yaml");
    expect((await readConfiguration({}, {}, without("/etc/postern/postern.yaml"))).file).toBe("postern.yaml");
    expect((await readConfiguration({}, {}, without("/etc/postern/postern.yaml", "postern.yaml"))).file).toBe("config/postern.yaml");
    expect(await readConfiguration({}, {}, filesOf({}))).toMatchObject({ ok: true });
    expect((await readConfiguration({}, {}, filesOf({}))).file).toBeUndefined();
  });
  test("a named file that is missing is an error, not a reason to go on without", async () => {
    const result = await readConfiguration({}, { POSTERN_CONFIG: "c.yaml" }, filesOf(every));
    expect(result.ok ? "" : describeConfigErrors(result.errors)).toBe(
      "the configuration has one error:\n  c.yaml: cannot be read (no such file)",
    );
  });
  test("--set without a value", async () => {
    const result = await readConfiguration({ set: ["tls.floor"] }, {}, filesOf({}));
    expect(result.ok ? "" : describeConfigErrors(result.errors)).toContain("--set: expected section.key=value");
  });
});
