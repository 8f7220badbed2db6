/**
 * What a host calls itself (RFC 8460 §4.4, `receiving-mx-helo`): what it says first in; its name, as far as it is one, out. Pure;
 * read for each connection by delivery/connect.ts.
 */
import { isHostname, parseAddressLiteral } from "../mail/domain.ts";
import type { Reply } from "../mail/reply.ts";

/**
 * What stands first in a greeting or in the reply to EHLO, where it is a name (RFC 5321 §4.2). A word without a dot is
 * none: many hosts say `Hello` or `OK` there.
 */
export function findHelo({ lines: [first = ""] }: Reply): string | undefined {
  const word = /^[^ \t]{1,255}(?=[ \t]|$)/.exec(first)?.[0] ?? "";
  if (word.startsWith("[")) {
    const literal = parseAddressLiteral(word);
    return literal.ok ? literal.value : undefined;
  }
  const name = word.toLowerCase().replace(/\.$/, "");
  return name.includes(".") && isHostname(name) ? name : undefined;
}
