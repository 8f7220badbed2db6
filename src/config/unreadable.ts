/** Why a file cannot be read, in words: an exception in, a phrase out. Only the system's code is used, for a message may quote more than the path. */
import { codeOf } from "../thrown.ts";

const WORDS: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  EACCES: "not permitted",
  EPERM: "not permitted",
  EISDIR: "it is a folder",
  ENOTDIR: "a part of its path is no folder",
};

export function whyUnreadable(error: unknown): string {
  const code = codeOf(error) ?? "error";
  return WORDS[code] ?? code;
}
