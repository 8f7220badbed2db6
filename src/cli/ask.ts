/** Questions at a terminal: yes or no, and a password that is not echoed. */
import { StringDecoder } from "node:string_decoder";
import { CliFailure, type CliIo, EXIT, print } from "./io.ts";

const INPUT_LIMIT = 4096;

/** One line from the terminal or a pipe, without its line end; undefined at the end of input. */
export async function readLine(io: CliIo): Promise<string | undefined> {
  const decoder = new StringDecoder("utf8");
  let text = "";
  for await (const chunk of io.stdin as AsyncIterable<Buffer | string>) {
    text += typeof chunk === "string" ? chunk : decoder.write(chunk);
    if (text.includes("\n") || text.length > INPUT_LIMIT) break;
  }
  if (text === "") return undefined;
  return text.split(/\r?\n/, 1)[0]?.slice(0, INPUT_LIMIT);
}

/** True for `y` or `yes`; anything else is no. */
export async function confirm(question: string, io: CliIo): Promise<boolean> {
  await print(io.stderr, `${question} [y/N] `);
  return /^y(?:es)?$/i.test((await readLine(io))?.trim() ?? "");
}

/** The password twice at a terminal, unseen; else the first line of standard input. */
export async function readPassword(io: CliIo): Promise<string> {
  if (io.stdin.isTTY !== true) {
    const password = await readLine(io);
    if (password === undefined || password === "")
      throw new CliFailure(EXIT.usage, "no password: give it on standard input, or use --generate");
    return password;
  }
  const typed = new UnseenLines(io);
  try {
    const first = await typed.read("Password: ");
    if (first === "") throw new CliFailure(EXIT.usage, "an empty password is none");
    if ((await typed.read("Again: ")) !== first) throw new CliFailure(EXIT.usage, "the two passwords differ");
    return first;
  } finally {
    typed.close();
  }
}

/** Lines typed without echo. What was typed ahead belongs to the next line. */
class UnseenLines {
  readonly #io: CliIo;
  readonly #decoder = new StringDecoder("utf8");
  #ahead = "";
  #ended = false;
  #wake: () => void = () => {};
  readonly #onData = (chunk: Buffer | string): void => {
    this.#ahead = (this.#ahead + (typeof chunk === "string" ? chunk : this.#decoder.write(chunk))).slice(0, INPUT_LIMIT);
    this.#wake();
  };
  readonly #onEnd = (): void => {
    this.#ended = true;
    this.#wake();
  };

  constructor(io: CliIo) {
    this.#io = io;
    io.stdin.setRawMode?.(true);
    io.stdin.on("data", this.#onData).on("end", this.#onEnd);
  }

  async read(prompt: string): Promise<string> {
    await print(this.#io.stderr, prompt);
    let end = this.#ahead.search(LINE_END);
    while (end < 0 && !this.#ended) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
      end = this.#ahead.search(LINE_END);
    }
    await print(this.#io.stderr, "\n");
    if (end < 0 || this.#ahead[end] === "\u0003") throw new CliFailure(EXIT.usage, "stopped");
    const typed = this.#ahead.slice(0, end);
    this.#ahead = this.#ahead.slice(end + (this.#ahead.startsWith("\r\n", end) ? 2 : 1));
    return applyRubouts(typed);
  }

  close(): void {
    this.#io.stdin.off("data", this.#onData).off("end", this.#onEnd);
    this.#io.stdin.pause();
    this.#io.stdin.setRawMode?.(false);
  }
}

// Return, line feed, Ctrl-D and Ctrl-C: in raw mode they are ours to understand.
const LINE_END = /[\r\n\u0003\u0004]/;

function applyRubouts(typed: string): string {
  const chars: string[] = [];
  for (const char of typed) {
    if (char === "\u007f" || char === "\b") chars.pop();
    else chars.push(char);
  }
  return chars.join("");
}
