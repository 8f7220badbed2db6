/**
 * IP networks as settings write them (RFC 4632 §3.1, RFC 4291 §2.3): `10.0.0.0/8`, `fd00::/8`, or one address alone. Text in,
 * address and prefix length out. Whether host bits are a slip is config/check-networks.ts.
 */
import { isIP } from "node:net";
import { bad, good, type Parsed } from "./parsed.ts";

export interface Network {
  /** As written; strict, unlike ipaddr.js, to which `127.1` and `0177.0.0.1` are addresses too. */
  readonly address: string;
  /** Of all bits for one address alone. */
  readonly prefix: number;
}

export function parseNetwork(text: string): Parsed<Network> {
  const [, address = "", written] = /^([^/%]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const width = { 0: 0, 4: 32, 6: 128 }[isIP(address)] ?? 0;
  const prefix = written === undefined ? width : Number(written);
  if (width === 0 || prefix > width)
    return bad(`not a network: ${JSON.stringify(text.slice(0, 100))}; expected one like 10.0.0.0/8 or fd00::/8, or an address`);
  return good({ address, prefix });
}
