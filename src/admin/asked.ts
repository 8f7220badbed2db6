/** Names in requests: what somebody wrote in; a domain, or BadRequest with the reason, out. */
import { type Domain, type NextHop, parseDomain, parseNextHop } from "../mail/domain.ts";
import { BadRequest } from "./bad-request.ts";

/** A domain, or that of an address. */
export function askedDomain(text: string): Domain {
  const parsed = parseDomain(withoutLocalPart(text));
  if (!parsed.ok) throw new BadRequest(parsed.error);
  return parsed.value;
}

/** A domain, an address literal, or the domain of an address. */
export function askedNextHop(text: string): NextHop {
  const parsed = parseNextHop(withoutLocalPart(text));
  if (!parsed.ok) throw new BadRequest(parsed.error);
  return parsed.value;
}

function withoutLocalPart(text: string): string {
  return text.slice(text.lastIndexOf("@") + 1);
}
