/** What a command may touch, handed in, and how it ends: exit codes of sysexits.h, and a failure that carries one. */
import type { Readable, Writable } from "node:stream";
import type { Clock } from "../clock.ts";

export interface CliIo {
  readonly stdin: Readable & { readonly isTTY?: boolean; setRawMode?(raw: boolean): unknown };
  readonly stdout: Writable & { readonly isTTY?: boolean };
  readonly stderr: Writable & { readonly isTTY?: boolean };
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
}

/** sysexits.h, as sendmail and its callers know them; 1 is a plain "no". */
export const EXIT = {
  ok: 0,
  no: 1,
  usage: 64,
  dataError: 65,
  noInput: 66,
  unavailable: 69,
  software: 70,
  ioError: 74,
  tempFail: 75,
  noPermission: 77,
  config: 78,
} as const;

export const EXIT_HELP = `
Exit codes:
  0   done
  1   no: not healthy, no such message or user
  64  the command line is wrong
  65  the input is no such file
  66  the input file cannot be read
  69  refused: by the relay, or the message bounced; or the relay could not start
  70  a fault of Postern itself
  74  the answer cannot be written
  75  not now: the relay is not running or does not answer, or the message waits
  77  not permitted: run it as the user that runs the relay
  78  the configuration is wrong`;

/** Ends a command: the text goes to standard error, the code to the shell. */
export class CliFailure extends Error {
  override readonly name = "CliFailure";
  readonly exitCode: number;

  constructor(exitCode: number, text: string, cause?: unknown) {
    super(text, cause === undefined ? undefined : { cause });
    this.exitCode = exitCode;
  }
}

/** The configuration is wrong. Its text tells every error, `first` is one of them on one line. */
export class FaultySettings extends CliFailure {
  readonly first: string;

  constructor(text: string, first: string) {
    super(EXIT.config, text);
    this.first = first;
  }
}

/** The value of `--limit`. */
export function parseLimit(text: string): number {
  const limit = Number(text);
  if (!Number.isInteger(limit) || limit < 1 || limit > 1000)
    throw new CliFailure(EXIT.usage, `--limit: a number from 1 to 1000, not ${JSON.stringify(text)}`);
  return limit;
}

/** Writes in full: resolves when the text has been handed to the system, so that a large answer is not cut at exit. */
export function print(stream: Writable, text: string): Promise<void> {
  return new Promise((resolve) => {
    if (text === "") return resolve();
    // A reader that went away (EPIPE) has seen what it wanted.
    stream.write(text, () => resolve());
  });
}
