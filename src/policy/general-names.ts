/**
 * Names as certificates write them (RFC 5280 §4.2.1.6, §4.2.1.10): the octets of subjectAltName or nameConstraints in, names
 * ready to be compared out; thrown what is not as it should be. asn1js reads the DER. pkijs' own GeneralName is not used: it
 * tries all nine kinds anew for each name, 0.1 ms a name. Comparing is policy/name-constraints.ts.
 */
import { type AsnType, Constructed, fromBER, Primitive, Sequence } from "asn1js";
import { RelativeDistinguishedNames } from "pkijs";

export const DNS = 2;
export const DIRECTORY = 4;
export const ADDRESS = 7;

export type GeneralName =
  /** In lower case. */
  | { readonly tag: typeof DNS; readonly text: string }
  | { readonly tag: typeof DIRECTORY; readonly parts: readonly string[] }
  /** In a constraint, followed by a mask of the same length. */
  | { readonly tag: typeof ADDRESS; readonly octets: Uint8Array }
  | { readonly tag: 0 | 1 | 3 | 5 | 6 | 8 };

export interface Constraints {
  readonly permitted: readonly GeneralName[];
  readonly excluded: readonly GeneralName[];
}

/** Of one extension. Public CAs stop at some hundred. */
export const MOST_NAMES = 1_000;

export class TooManyNames extends Error {}

export function readGeneralNames(der: Uint8Array): GeneralName[] {
  const names = itemsOf(readWhole(der));
  return names.map(readGeneralName);
}

export function readConstraints(der: Uint8Array): Constraints {
  const lists = itemsOf(readWhole(der));
  const permitted = lists.find(({ idBlock }) => isContext(idBlock, 0));
  const excluded = lists.find(({ idBlock }) => isContext(idBlock, 1));
  if (lists.length !== (permitted === undefined ? 0 : 1) + (excluded === undefined ? 0 : 1)) throw new Error("not NameConstraints");
  const read = (list: AsnType | undefined): GeneralName[] => (list === undefined ? [] : itemsOf(list).map(readSubtree));
  return { permitted: read(permitted), excluded: read(excluded) };
}

/** A distinguished name, part by part, so that equal parts are equal texts: in lower case, runs of blanks as one (RFC 5280 §7.1). */
export function partsOf({ typesAndValues }: RelativeDistinguishedNames): string[] {
  return typesAndValues.map(({ type, value }) => {
    const text: unknown = value.valueBlock.value;
    if (typeof text !== "string") return `${type}#${Buffer.from(value.valueBeforeDecodeView).toString("hex")}`;
    return `${type}=${text.normalize("NFKC").trim().replace(/ {2,}/g, " ").toLowerCase()}`;
  });
}

function readWhole(der: Uint8Array): AsnType {
  const { offset, result } = fromBER(der);
  if (offset !== der.length || !(result instanceof Sequence)) throw new Error("not one SEQUENCE");
  return result;
}

function itemsOf(list: AsnType): readonly AsnType[] {
  if (!(list instanceof Constructed)) throw new Error("not a list");
  const items: readonly AsnType[] = list.valueBlock.value;
  if (items.length > MOST_NAMES) throw new TooManyNames(`more than ${MOST_NAMES} names in one extension`);
  return items;
}

/** RFC 5280 §4.2.1.10: `minimum` is 0 and `maximum` absent; who cannot process others has to reject them. */
function readSubtree(subtree: AsnType): GeneralName {
  const [base, minimum, ...more] = itemsOf(subtree);
  const plain = minimum === undefined || (isContext(minimum.idBlock, 0) && octetsOf(minimum).every((octet) => octet === 0));
  if (base === undefined || !plain || more.length > 0) throw new Error("a subtree with bounds");
  return readGeneralName(base);
}

function readGeneralName(name: AsnType): GeneralName {
  const { tagClass, tagNumber } = name.idBlock;
  if (tagClass !== CONTEXT) throw new Error("not a GeneralName");
  switch (tagNumber) {
    case DNS:
      return { tag: DNS, text: Buffer.from(octetsOf(name)).toString("latin1").toLowerCase() };
    case DIRECTORY: {
      const [schema] = itemsOf(name);
      return { tag: DIRECTORY, parts: partsOf(new RelativeDistinguishedNames({ schema })) };
    }
    case ADDRESS:
      return { tag: ADDRESS, octets: octetsOf(name) };
    case 0:
    case 1:
    case 3:
    case 5:
    case 6:
    case 8:
      return { tag: tagNumber };
    default:
      throw new Error("not a GeneralName");
  }
}

const CONTEXT = 3;

function isContext({ tagClass, tagNumber }: AsnType["idBlock"], wanted: number): boolean {
  return tagClass === CONTEXT && tagNumber === wanted;
}

function octetsOf(name: AsnType): Uint8Array {
  if (!(name instanceof Primitive)) throw new Error("a name in pieces");
  return name.valueBlock.valueHexView;
}
