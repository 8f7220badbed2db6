import { expect, test } from "vitest";
import { hashPassword, isPasswordHash, NOBODYS_HASH, verifyPassword } from "../../src/submission/password.ts";

test("a hash fits its password and no other, and says how it was made", async () => {
  const hash = await hashPassword("correct horse: battery, $taple@");
  expect(hash).toMatch(/^scrypt\$16384\$8\$1\$[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+$/);
  expect(isPasswordHash(hash)).toBe(true);
  expect(await verifyPassword("correct horse: battery, $taple@", hash)).toBe(true);
  expect(await verifyPassword("correct horse: battery, $taple", hash)).toBe(false);
  expect(await verifyPassword("", hash)).toBe(false);
});

test("two hashes of one password differ", async () => expect(await hashPassword("x")).not.toBe(await hashPassword("x")));

test("an older cost is still understood", async () => {
  // Made with N=1024 by node:crypto for the password "old".
  const { scryptSync } = await import("node:crypto");
  const salt = Buffer.from("0123456789abcdef");
  const hash = `scrypt$1024$8$1$${salt.toString("base64")}$${scryptSync("old", salt, 32, { N: 1024, r: 8, p: 1 }).toString("base64")}`;
  expect(await verifyPassword("old", hash)).toBe(true);
});

test.each([
  ["plain"],
  [""],
  ["scrypt$16384$8$1$$"],
  ["scrypt$16385$8$1$MDEyMzQ1Njc4OWFiY2RlZg==$MDEyMzQ1Njc4OWFiY2RlZg=="], // no power of two
  ["scrypt$1048576$128$1$MDEyMzQ1Njc4OWFiY2RlZg==$MDEyMzQ1Njc4OWFiY2RlZg=="], // would take 16 GB
  ["scrypt$16384$8$1$MDE=$MDEyMzQ1Njc4OWFiY2RlZg=="], // hardly any salt
  ["$2b$10$abcdefghijklmnopqrstuv"],
])("%j is no hash, and no password fits it", async (text) => {
  expect(isPasswordHash(text)).toBe(false);
  expect(await verifyPassword(text, text)).toBe(false);
});

test("nobody's hash is checked like any other, and nothing fits it", async () => {
  expect(isPasswordHash(NOBODYS_HASH)).toBe(true);
  expect(await verifyPassword("", NOBODYS_HASH)).toBe(false);
});
