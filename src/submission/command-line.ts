/** One command line (RFC 5321 §2.3.8, §4.5.3.1.4; RFC 6531 §3.1): octets without their CRLF in, verb and argument or the reply that refuses them out. */
import { isAscii, isUtf8 } from "node:buffer";
import { bad, good, type Parsed } from "../mail/parsed.ts";

export interface CommandLine {
  /** Upper case. */
  readonly verb: string;
  /** What follows the verb, from its blank on. */
  readonly argument: string;
  readonly text: string;
}

/** RFC 5321 §4.5.3.1.4 and what SIZE, BODY, SMTPUTF8, DSN, AUTH and REQUIRETLS add to it, with room to spare. */
const LONGEST_COMMAND = 2048;

export const TOO_LONG = "500 5.5.2 the command line is too long";

export function parseCommandLine(line: Buffer): Parsed<CommandLine> {
  const ascii = isAscii(line);
  if (line.includes(0x0d) || line.includes(0)) return bad("500 5.5.2 a command has no CR or NUL inside");
  const text = ascii || !isUtf8(line) ? line.toString("latin1") : line.toString("utf8");
  const blank = text.indexOf(" ");
  const verb = (blank < 0 ? text : text.slice(0, blank)).toUpperCase();
  if (line.length > LONGEST_COMMAND && verb !== "AUTH") return bad(TOO_LONG);
  // Octets that are no UTF-8 would become another address than the one meant.
  if (!ascii && (verb === "MAIL" || verb === "RCPT") && !isUtf8(line)) return bad("501 5.5.2 the command is not UTF-8");
  return good({ verb, argument: blank < 0 ? "" : text.slice(blank), text });
}
