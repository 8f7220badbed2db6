/**
 * Name constraints of a CA (RFC 5280 §4.2.1.10): its constraints and the names of a certificate below it in, the name that
 * they forbid out. DNS names, addresses and directory names are compared; of every other kind one that is constrained is
 * forbidden, as the section asks of whoever cannot compare it. How many comparisons one chain gets is policy/path-work.ts.
 */
import { cleanText } from "../mail/reply.ts";
import { ADDRESS, type Constraints, DIRECTORY, DNS, type GeneralName } from "./general-names.ts";
import type { PathCertificate } from "./path-certificate.ts";

/** What the CA's constraints forbid of these names, in words. */
export function findForbiddenName({ permitted, excluded }: Constraints, names: readonly GeneralName[]): string | undefined {
  const kindsPermitted = new Set(permitted.map(({ tag }) => tag));
  for (const name of names) {
    if (kindsPermitted.has(name.tag) && !permitted.some((base) => isWithin(name, base))) return describe(name);
    if (excluded.some((base) => touches(name, base))) return describe(name);
  }
  return undefined;
}

export function countComparisons({ permitted, excluded }: Constraints, names: readonly GeneralName[]): number {
  return names.length * (permitted.length + excluded.length);
}

/** Every name that constraints apply to (RFC 5280 §6.1.3 b, c). */
export function constrainedNames({
  alternativeNames,
  subject,
  commonName,
}: Pick<PathCertificate, "alternativeNames" | "subject" | "commonName">): GeneralName[] {
  const names = [...alternativeNames];
  if (subject.length > 0) names.push({ tag: DIRECTORY, parts: subject });
  // It counts as a DNS name where there is no other (RFC 7672 §3.2.3), so it must not escape the constraints.
  if (commonName !== undefined && !names.some(({ tag }) => tag === DNS)) {
    if (/^(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)+$/i.test(commonName)) names.push({ tag: DNS, text: commonName.toLowerCase() });
  }
  return names;
}

function isWithin(name: GeneralName, base: GeneralName): boolean {
  if (name.tag === DNS && base.tag === DNS) return isDnsWithin(name.text, base.text);
  if (name.tag === DIRECTORY && base.tag === DIRECTORY) return base.parts.every((part, index) => part === name.parts[index]);
  if (name.tag === ADDRESS && base.tag === ADDRESS) return isAddressWithin(name.octets, base.octets);
  return false;
}

/** The name, or one that it may stand for, lies in what is excluded. */
function touches(name: GeneralName, base: GeneralName): boolean {
  if (name.tag !== base.tag) return false;
  if (name.tag !== DNS && name.tag !== DIRECTORY && name.tag !== ADDRESS) return true;
  if (isWithin(name, base)) return true;
  return name.tag === DNS && base.tag === DNS && name.text.startsWith("*.") && base.text.endsWith(name.text.slice(1));
}

/** `example.org` stands for itself and all below it, `.example.org` for all below it, an empty text for everything. */
function isDnsWithin(host: string, tree: string): boolean {
  if (tree === "") return true;
  if (!host.endsWith(tree)) return false;
  return tree.startsWith(".") || host.length === tree.length || host[host.length - tree.length - 1] === ".";
}

/** The constraint is an address and a mask of the same length. */
function isAddressWithin(address: Uint8Array, base: Uint8Array): boolean {
  if (address.length === 0 || base.length !== address.length * 2) return false;
  return address.every((octet, index) => {
    const mask = base[address.length + index] ?? 0xff;
    return (octet & mask) === ((base[index] ?? 0) & mask);
  });
}

function describe(name: GeneralName): string {
  if (name.tag === DNS) return `the name ${cleanText(name.text, 253)}`;
  return name.tag === ADDRESS ? "its address" : name.tag === DIRECTORY ? "its subject" : "one of its names";
}
