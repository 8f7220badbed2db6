/** Key records: what is to be published, and what is made of what is. */
import { createPublicKey } from "node:crypto";
import { describe, expect, test } from "vitest";
import { generateKey, readPrivateKey } from "../../src/mail/dkim-key.ts";
import { compareDkimRecord, type DkimService, formatDkimRecord, formatTxtStrings, parseDkimRecord } from "../../src/mail/dkim-record.ts";

const KEY = { algorithm: "ed25519-sha256", publicKey: "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" } as const;
const P = KEY.publicKey;
const BOTH: DkimService[] = ["email", "tlsrpt"];

describe("what DNS says of a key", () => {
  const cases: [name: string, records: string[], uses: DkimService[], fits: boolean, problem: RegExp | undefined][] = [
    ["our record", [formatDkimRecord(KEY)], BOTH, true, undefined],
    ["without s=", [`v=DKIM1; k=ed25519; p=${P}`], BOTH, true, undefined],
    ["s=*", [`v=DKIM1; k=ed25519; s=*; p=${P}`], BOTH, true, undefined],
    ["without v=", [`k=ed25519;p=${P};`], BOTH, true, undefined],
    ["blanks everywhere", [` v = DKIM1 ; k = ed25519 ; p = ${P.slice(0, 9)} \r\n\t${P.slice(9)} ; `], BOTH, true, undefined],
    ["tags nobody knows", [`v=DKIM1; k=ed25519; zz=1; n=note; p=${P}`], BOTH, true, undefined],
    ["none", [], BOTH, false, /^the record is not in DNS$/],
    ["two, of which one is right", [formatDkimRecord(KEY), "v=spf1 -all"], BOTH, false, /^2 TXT records/],
    ["another text", ["google-site-verification=abc"], BOTH, false, /no key record/],
    ["no list of tags", ["hello"], BOTH, false, /no list of tags/],
    ["a tag twice", [`v=DKIM1; k=ed25519; p=${P}; p=x`], BOTH, false, /p= twice/],
    ["another version", [`v=DKIM2; k=ed25519; p=${P}`], BOTH, false, /v=DKIM2/],
    ["v= elsewhere than first", [`k=ed25519; v=DKIM1; p=${P}`], BOTH, false, /not stand first/],
    ["no p=", ["v=DKIM1; k=ed25519"], BOTH, false, /no p=/],
    ["revoked", ["v=DKIM1; k=ed25519; p="], BOTH, false, /revokes/],
    ["another key", [`v=DKIM1; k=ed25519; p=${P.replace("11q", "22q")}`], BOTH, false, /another key/],
    ["a key cut off", [`v=DKIM1; k=ed25519; p=${P.slice(0, 20)}`], BOTH, false, /cut off after 20 of 44/],
    ["another kind of key, since it does not say", [`v=DKIM1; p=${P}`], BOTH, false, /k=rsa, and the key is ed25519/],
    ["another hash only", [`v=DKIM1; k=ed25519; h=sha1; p=${P}`], BOTH, false, /shuts out sha256/],
    ["our hash among others", [`v=DKIM1; k=ed25519; h=sha1:sha256; p=${P}`], BOTH, true, undefined],
    ["a test", [`v=DKIM1; k=ed25519; t=y:s; p=${P}`], BOTH, true, /t=y/],
    ["t=s is no test", [`v=DKIM1; k=ed25519; t=s; p=${P}`], BOTH, true, undefined],
    // RFC 8460 §3
    [
      "s=email, of a domain that sends reports",
      [`v=DKIM1; k=ed25519; s=email; p=${P}`],
      BOTH,
      true,
      /shuts out tlsrpt, .*TLS reports; publish s=email:tlsrpt/,
    ],
    ["s=tlsrpt, of one that does", [`v=DKIM1; k=ed25519; s=tlsrpt; p=${P}`], BOTH, true, /shuts out email, .*of mail/],
    ["s=email, of one that does not", [`v=DKIM1; k=ed25519; s=email; p=${P}`], ["email"], true, undefined],
    ["s=tlsrpt, of one that does not", [`v=DKIM1; k=ed25519; s=tlsrpt; p=${P}`], ["email"], false, /shuts out email/],
    ["s= for neither", [`v=DKIM1; k=ed25519; s=other; p=${P}`], BOTH, false, /shuts out email, .* and tlsrpt, /],
  ];
  for (const [name, records, uses, fits, problem] of cases)
    test(name, () => {
      const found = compareDkimRecord(records, KEY, uses);
      expect(found.fits).toBe(fits);
      if (problem === undefined) expect(found.problem).toBeUndefined();
      else expect(found.problem).toMatch(problem);
    });

  test("whatever it says, the sentence is clean and short", () => {
    for (const text of [`v=\u001b[2J${"x".repeat(5000)}`, `k=\u0007${"y".repeat(60_000)}; p=a`, `${"\u202e".repeat(60_000)}=1`]) {
      const { problem = "" } = compareDkimRecord([text], KEY, BOTH);
      expect(problem).toMatch(/^[\x20-\x7e…]{10,200}$/);
    }
  });
});

describe("our record", () => {
  test("is for mail and for TLS reports (RFC 8460 §3)", async () => {
    const key = await generateKey("rsa-sha256");
    expect(formatDkimRecord({ algorithm: "rsa-sha256", ...key })).toMatch(/^v=DKIM1; k=rsa; s=email:tlsrpt; p=[A-Za-z0-9+/]{390,}=*$/);
  });

  test("is cut for zone files where RFC 1035 §3.3.14 ends a string, and is whole when put together", async () => {
    const value = formatDkimRecord({ algorithm: "rsa-sha256", ...(await generateKey("rsa-sha256")) });
    const strings = formatTxtStrings(value);
    const parts = [...strings.matchAll(/"([^"]*)"/g)].map((match) => match[1] ?? "");
    expect(parts.length).toBe(2);
    for (const part of parts) expect(part.length).toBeLessThanOrEqual(255);
    expect(parts.join("")).toBe(value);
    expect(strings).toBe(parts.map((part) => `"${part}"`).join(" "));
  });

  test("is read back as it was written", () => {
    expect(parseDkimRecord(formatDkimRecord(KEY))).toEqual({
      ok: true,
      value: { keyType: "ed25519", publicKey: P, services: ["email", "tlsrpt"], flags: [] },
    });
  });
});

describe("keys", () => {
  test("RSA has 2048 bits, and p= is its SubjectPublicKeyInfo (RFC 6376 §3.6.1)", async () => {
    const { privateKey, publicKey } = await generateKey("rsa-sha256");
    const key = createPublicKey({ key: Buffer.from(publicKey, "base64"), format: "der", type: "spki" });
    expect(key.asymmetricKeyDetails?.modulusLength).toBe(2048);
    expect(key.equals(createPublicKey(readPrivateKey(privateKey, "rsa-sha256")))).toBe(true);
  });

  test("Ed25519's p= is 32 octets (RFC 8463 §4)", async () => {
    const { privateKey, publicKey } = await generateKey("ed25519-sha256");
    expect(Buffer.from(publicKey, "base64")).toHaveLength(32);
    const { x } = createPublicKey(readPrivateKey(privateKey, "ed25519-sha256")).export({ format: "jwk" });
    expect(Buffer.from(x ?? "", "base64url").toString("base64")).toBe(publicKey);
  });

  test("one that cannot be read is named without a word of it", () => {
    const pem = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    expect(() => readPrivateKey(pem, "rsa-sha256")).toThrow(/^the private key cannot be read$/);
  });

  test("one of another kind does not pass for it", async () => {
    const { privateKey } = await generateKey("ed25519-sha256");
    expect(() => readPrivateKey(privateKey, "rsa-sha256")).toThrow(/another kind/);
  });
});
