/**
 * Passwords at rest: `scrypt$N$r$p$salt$hash` (RFC 7914), salt and hash in base64. How many are computed at once is
 * login.ts's; the command line makes hashes here too.
 */
import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";

const COST = { N: 2 ** 14, r: 8, p: 1 };
const HASH_LENGTH = 32;
const FORM = /^scrypt\$(\d{1,8})\$(\d{1,3})\$(\d{1,3})\$([A-Za-z0-9+/]+={0,2})\$([A-Za-z0-9+/]+={0,2})$/;

interface PasswordHash {
  readonly cost: { readonly N: number; readonly r: number; readonly p: number };
  readonly salt: Buffer;
  readonly hash: Buffer;
}

/** Undefined for text that is no hash, or one that would take more than 256 MB to check. */
function parsePasswordHash(text: string): PasswordHash | undefined {
  const match = FORM.exec(text);
  if (match === null) return undefined;
  const [N, r, p] = [Number(match[1]), Number(match[2]), Number(match[3])];
  const powerOfTwo = N > 1 && (N & (N - 1)) === 0;
  const salt = Buffer.from(match[4] ?? "", "base64");
  const hash = Buffer.from(match[5] ?? "", "base64");
  if (!powerOfTwo || r < 1 || p < 1 || p > 16 || 128 * N * r > 2 ** 28 || salt.length < 8 || hash.length < 16) return undefined;
  return { cost: { N, r, p }, salt, hash };
}

export function isPasswordHash(text: string): boolean {
  return parsePasswordHash(text) !== undefined;
}

function derive(
  password: string,
  { cost, salt, hash }: { cost: PasswordHash["cost"]; salt: Buffer; hash: { length: number } },
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const maxmem = 128 * cost.N * cost.r + 128 * cost.r * cost.p + 2 ** 20;
    scrypt(password, salt, hash.length, { ...cost, maxmem }, (error, derived) => (error === null ? resolve(derived) : reject(error)));
  });
}

export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16);
  const hash = await derive(password, { cost: COST, salt, hash: { length: HASH_LENGTH } });
  return `scrypt$${COST.N}$${COST.r}$${COST.p}$${salt.toString("base64")}$${hash.toString("base64")}`;
}

/** False for a wrong password, and for a hash that is none. */
export async function verifyPassword(password: string, passwordHash: string): Promise<boolean> {
  const parsed = parsePasswordHash(passwordHash);
  if (parsed === undefined) return false;
  return timingSafeEqual(await derive(password, parsed), parsed.hash);
}

/** A hash that no password has: checked for unknown users, so that they take as long as known ones (RFC 4954 §9). */
export const NOBODYS_HASH = `scrypt$${COST.N}$${COST.r}$${COST.p}$${Buffer.alloc(16).toString("base64")}$${Buffer.alloc(HASH_LENGTH).toString("base64")}`;
