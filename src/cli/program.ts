/**
 * The command line: every command, the global options, and what becomes of an error. Results go to standard output,
 * trouble to standard error, the exit code says which kind (sysexits.h).
 */
import { Command, CommanderError } from "commander";
import { systemClock } from "../clock.ts";
import { registerCheckCommand } from "./check-command.ts";
import { registerDkimCommands } from "./dkim-command.ts";
import { CliFailure, type CliIo, EXIT, EXIT_HELP, print } from "./io.ts";
import { registerPolicyCommands } from "./policy-command.ts";
import { registerQueueCommands } from "./queue-command.ts";
import { registerRelayCommands } from "./relay-commands.ts";
import { registerSendCommand } from "./send-command.ts";
import { type GlobalOptions, type Rooms, share } from "./shared.ts";
import { registerTlsrptCommands } from "./tlsrpt-command.ts";
import { registerUserCommands } from "./user-command.ts";
import { readVersion } from "./version.ts";

/** Runs one command line (without node and script) and returns its exit code. Never throws for what a user did. */
export async function runProgram(argv: readonly string[], io: CliIo, rooms: Rooms): Promise<number> {
  const written: Promise<void>[] = [];
  let exitCode: number = EXIT.ok;
  const program = new Command("postern");
  program
    .description("An outbound SMTP relay that refuses to be downgraded")
    .option("--config <file>", "configuration file (YAML)")
    .option("--data <folder>", "data folder, like --set data.folder=…")
    .option(
      "--set <key=value>",
      "one setting, like tls.floor=encrypted; may be repeated",
      (value: string, all: string[]) => [...all, value],
      [],
    )
    .option("--json", "answers as JSON")
    .version(readVersion(), "-V, --version", "print the version")
    .exitOverride()
    .showSuggestionAfterError(true)
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => void written.push(print(io.stdout, text)),
      writeErr: (text) => void written.push(print(io.stderr, text)),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .addHelpText("after", EXIT_HELP);

  const shared = share({
    io,
    rooms,
    options: () => program.opts<GlobalOptions>(),
    exit: (code) => {
      exitCode = code;
    },
  });
  const version = readVersion();
  registerRelayCommands(program, shared, version);
  registerSendCommand(program, shared);
  registerCheckCommand(program, shared);
  registerQueueCommands(program, shared);
  registerPolicyCommands(program, shared);
  registerTlsrptCommands(program, shared);
  registerDkimCommands(program, shared);
  registerUserCommands(program, shared);
  await rooms.registerConfig(program, io);

  try {
    await program.parseAsync(argv, { from: "user" });
  } catch (error) {
    exitCode = await explain(error, io);
  }
  await Promise.all(written);
  return exitCode;
}

async function explain(error: unknown, io: CliIo): Promise<number> {
  if (error instanceof CommanderError) {
    // Commander has written its text already; help and version are no errors, a bare `postern` is.
    if (error.code === "commander.helpDisplayed" || error.code === "commander.version") return EXIT.ok;
    // Commander's own code is 1; a command that has another one for a wrong command line says so itself.
    return error.exitCode > 1 ? error.exitCode : EXIT.usage;
  }
  if (error instanceof CliFailure) {
    await print(io.stderr, `postern: ${error.message}\n`);
    return error.exitCode;
  }
  await print(io.stderr, `postern: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return EXIT.software;
}

/** The process's own command line, for bin/postern.js. */
export async function main(): Promise<void> {
  // A full disk below `postern queue ls > file` is an error, but none that a running relay stops for. A reader that has
  // seen enough, as in `postern queue ls | head`, is none at all.
  let unwritten: NodeJS.ErrnoException | undefined;
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") unwritten = error;
    });
  }
  const io: CliIo = { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, environment: process.env, clock: systemClock };
  const { rooms } = await import("./assembly.ts");
  // All is written and saved by then. A terminal that was asked something, or a host that never greets, must not keep the process.
  const exitCode = await runProgram(process.argv.slice(2), io, rooms);
  if (unwritten === undefined || exitCode !== EXIT.ok) process.exit(exitCode);
  await print(process.stderr, `postern: the answer cannot be written: ${unwritten.message}\n`);
  process.exit(EXIT.ioError);
}
