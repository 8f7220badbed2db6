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
  const first = await readUnseen("Password: ", io);
  if (first === "") throw new CliFailure(EXIT.usage, "an empty password is none");
  if ((await readUnseen("Again: ", io)) !== first) throw new CliFailure(EXIT.usage, "the two passwords differ");
  return first;
}

async function readUnseen(prompt: string, io: CliIo): Promise<string> {
  await print(io.stderr, prompt);
  io.stdin.setRawMode?.(true);
  io.stdin.resume();
  try {
    return await new Promise<string>((resolve, reject) => {
      let text = "";
      const decoder = new StringDecoder("utf8");
      const stop = (): void => {
        io.stdin.off("data", onData);
        io.stdin.pause();
      };
      const onData = (chunk: Buffer): void => {
        for (const char of decoder.write(chunk)) {
          if (char === "\r" || char === "\n" || char === "\u0004") {
            stop();
            return resolve(text);
          }
          if (char === "\u0003") {
            stop();
            return reject(new CliFailure(EXIT.usage, "stopped"));
          }
          if (char === "\u007f" || char === "\b") text = [...text].slice(0, -1).join("");
          else if (text.length < INPUT_LIMIT) text += char;
        }
      };
      io.stdin.on("data", onData);
    });
  } finally {
    io.stdin.setRawMode?.(false);
    await print(io.stderr, "\n");
  }
}
