/**
 * Name constraints of a CA (RFC 5280 §4.2.1.10): its constraints and a certificate below it in, the name that they forbid
 * out. DNS names, addresses and directory names are compared; of every other kind one that is constrained is forbidden,
 * as the section asks of whoever cannot compare it.
 */
import type { GeneralName, NameConstraints, RelativeDistinguishedNames } from "pkijs";
import { cleanText } from "../mail/reply.ts";
import type { PathCertificate } from "./path-certificate.ts";

const DNS = 2;
const DIRECTORY = 4;
const ADDRESS = 7;

interface PresentedName {
  readonly type: number;
  readonly value: unknown;
}

/** What the CA's constraints forbid of this certificate, in words. */
export function findForbiddenName(constraints: NameConstraints, certificate: PathCertificate): string | undefined {
  const permitted = (constraints.permittedSubtrees ?? []).map(({ base }) => base);
  const excluded = (constraints.excludedSubtrees ?? []).map(({ base }) => base);
  for (const name of namesOf(certificate)) {
    const ofItsKind = permitted.filter(({ type }) => type === name.type);
    if (ofItsKind.length > 0 && !ofItsKind.some((base) => isWithin(name, base))) return describe(name);
    if (excluded.some((base) => base.type === name.type && touches(name, base))) return describe(name);
  }
  return undefined;
}

function namesOf({ alternativeNames, subject, commonName }: PathCertificate): PresentedName[] {
  const names: PresentedName[] = alternativeNames.map(({ type, value }) => ({ type, value: value as unknown }));
  if (subject.typesAndValues.length > 0) names.push({ type: DIRECTORY, value: subject });
  // It counts as a DNS name where there is no other (RFC 7672 §3.2.3), so it must not escape the constraints.
  if (commonName !== undefined && !names.some(({ type }) => type === DNS)) {
    if (/^(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)+$/i.test(commonName)) names.push({ type: DNS, value: commonName });
  }
  return names;
}

function isWithin({ type, value }: PresentedName, base: GeneralName): boolean {
  switch (type) {
    case DNS:
      return isDnsWithin(String(value), String(base.value));
    case DIRECTORY:
      return isDirectoryWithin(value as RelativeDistinguishedNames, base.value as RelativeDistinguishedNames);
    case ADDRESS:
      return isAddressWithin(octetsOf(value), octetsOf(base.value));
    default:
      return false;
  }
}

/** The name, or one that it may stand for, lies in what is excluded. */
function touches(name: PresentedName, base: GeneralName): boolean {
  if (name.type !== DNS && name.type !== DIRECTORY && name.type !== ADDRESS) return true;
  if (isWithin(name, base)) return true;
  const text = String(name.value).toLowerCase();
  return name.type === DNS && text.startsWith("*.") && String(base.value).toLowerCase().endsWith(text.slice(1));
}

/** `example.org` stands for itself and all below it, `.example.org` for all below it, an empty text for everything. */
function isDnsWithin(name: string, base: string): boolean {
  const host = name.toLowerCase();
  const tree = base.toLowerCase();
  if (tree === "") return true;
  return tree.startsWith(".") ? host.endsWith(tree) : host === tree || host.endsWith(`.${tree}`);
}

function isDirectoryWithin(name: RelativeDistinguishedNames, base: RelativeDistinguishedNames): boolean {
  return base.typesAndValues.every((part, index) => name.typesAndValues[index]?.isEqual(part) === true);
}

/** The constraint is an address and a mask of the same length. */
function isAddressWithin(address: Uint8Array, base: Uint8Array): boolean {
  if (address.length === 0 || base.length !== address.length * 2) return false;
  return address.every((octet, index) => {
    const mask = base[address.length + index] ?? 0xff;
    return (octet & mask) === ((base[index] ?? 0) & mask);
  });
}

function octetsOf(value: unknown): Uint8Array {
  const block = (value as { readonly valueBlock?: { readonly valueHexView?: Uint8Array } } | undefined)?.valueBlock;
  return block?.valueHexView ?? new Uint8Array();
}

function describe({ type, value }: PresentedName): string {
  if (type === DNS) return `the name ${cleanText(String(value), 253)}`;
  return type === ADDRESS ? "its address" : type === DIRECTORY ? "its subject" : "one of its names";
}
