/**
 * The DNS names of a certificate's subjectAltName (RFC 5280 §4.2.1.6), as Node words that extension in, the names out.
 * Which of them cover a host is policy/names.ts.
 */

/** Node quotes an entry that holds anything odd; such an entry is no host name and stays in its quotes, so that it matches nothing. */
export function parseDnsNames(subjectAltName: string | undefined): string[] {
  const entries = (subjectAltName ?? "").match(/(?:[^,"]|"(?:[^"\\]|\\.)*")+/g) ?? [];
  return entries
    .map((entry) => entry.trimStart())
    .filter((entry) => entry.startsWith("DNS:"))
    .map((entry) => entry.slice(4));
}
