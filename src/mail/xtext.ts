/**
 * Text that travels as a parameter's value: xtext (RFC 3461 §4), and internationalised addresses in ASCII
 * (RFC 6533 §3). Which parameter holds what is submission/path.ts and delivery/commands.ts.
 */

const XTEXT = /^(?:[!-*,-<>-~]|\+[0-9A-F]{2})*$/;

export function isXtext(text: string): boolean {
  return XTEXT.test(text);
}

/** `+2B` stands for `+`. What is not xtext stays as it is. */
export function decodeXtext(text: string): string {
  return text.replace(/\+([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** `\x{E9}`: one character as RFC 6533's EmbeddedUnicodeChar. */
export function embedUnicode(character: string): string {
  return `\\x{${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(2, "0")}}`;
}

/** An address with its EmbeddedUnicodeChars read; what names no character stays as it is. */
export function readEmbeddedUnicode(text: string): string {
  return text.replace(/\\x\{([0-9A-Fa-f]{2,6})\}/g, (written, hex: string) => {
    const point = Number.parseInt(hex, 16);
    return point <= 0x10_ffff && (point < 0xd800 || point > 0xdfff) ? String.fromCodePoint(point) : written;
  });
}
