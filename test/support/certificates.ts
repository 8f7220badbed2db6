/**
 * A private CA for tests, made by the openssl command: names, dates, keys and digests as wanted, the wrong ones
 * included. Everything lies in a temporary folder that goes with the process, and is made once a process.
 */
import { execFile } from "node:child_process";
import { generateKeyPair } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const newKeyPair = promisify(generateKeyPair);

export type TestKey = "ec" | "rsa-2048" | "rsa-1024" | "ed25519";
export type TestDigest = "sha256" | "sha1";

export interface CertificateWishes {
  /** subjectAltName: DNS names, or addresses; empty for a certificate without the extension. */
  readonly names: readonly string[];
  /** Default: the first name. */
  readonly commonName?: string;
  readonly key?: TestKey;
  readonly digest?: TestDigest;
  /** Default: a day ago. */
  readonly from?: Date;
  /** Default: in thirty days. */
  readonly to?: Date;
  /** Signed by its own key instead of the CA's. */
  readonly selfSigned?: boolean;
  /** Instead of those of a server: lines as `openssl ca` takes them; subjectAltName is added. */
  readonly extensions?: string;
}

export interface IssuedCertificate {
  /** PEM; behind the leaf come the CAs between it and the root, if there are any. */
  readonly certificate: string;
  readonly key: string;
  readonly certificateFile: string;
  readonly keyFile: string;
}

export interface CaOptions {
  readonly name?: string;
  readonly key?: TestKey;
  readonly from?: Date;
  readonly to?: Date;
  /** Instead of those of a CA. */
  readonly extensions?: string;
}

export interface TestCa {
  /** This CA's own certificate. */
  readonly own: string;
  /** The root certificate. */
  readonly pem: string;
  readonly file: string;
  issue(wishes: CertificateWishes): Promise<IssuedCertificate>;
  /** A CA below this one; `pem` stays the root's. `digest` is the one its own certificate is signed with. */
  subordinate(options?: CaOptions & { readonly digest?: TestDigest }): Promise<TestCa>;
}

const PREFIX = "postern-test-ca-";

let folder: string | undefined;
function workFolder(): string {
  if (folder === undefined) {
    sweep();
    const made = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
    folder = made;
    process.once("exit", () => rmSync(made, { recursive: true, force: true }));
  }
  return folder;
}

/** Test workers are mostly stopped without an exit event, so each run takes away what dead processes left. */
function sweep(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = Number(/^postern-test-ca-(\d+)-/.exec(name)?.[1] ?? Number.NaN);
    if (!Number.isNaN(pid) && !isAlive(pid)) rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

const DAY = 86_400_000;
let counter = 0;

/** One certificate to be signed. */
interface Order {
  readonly commonName: string;
  readonly extensions: string;
  readonly key: TestKey;
  readonly digest: TestDigest;
  readonly from: Date;
  readonly to: Date;
  /** Absent: self-signed. */
  readonly issuer?: { readonly certificateFile: string; readonly keyFile: string };
  /** The key that signs has its digest built in. */
  readonly digestless: boolean;
}

async function makeKey(kind: TestKey): Promise<string> {
  const privateKeyEncoding = { type: "pkcs8", format: "pem" } as const;
  const publicKeyEncoding = { type: "spki", format: "pem" } as const;
  if (kind === "ed25519") return (await newKeyPair("ed25519", { privateKeyEncoding, publicKeyEncoding })).privateKey;
  if (kind === "ec") return (await newKeyPair("ec", { namedCurve: "prime256v1", privateKeyEncoding, publicKeyEncoding })).privateKey;
  const modulusLength = kind === "rsa-2048" ? 2048 : 1024;
  return (await newKeyPair("rsa", { modulusLength, privateKeyEncoding, publicKeyEncoding })).privateKey;
}

/** `20260801120000Z`, as `openssl ca` takes it. */
function generalizedTime(date: Date): string {
  return `${date.toISOString().replace(/[-:T]/g, "").slice(0, 14)}Z`;
}

async function sign(order: Order): Promise<IssuedCertificate> {
  const here = join(workFolder(), String((counter += 1)));
  await mkdir(here);
  const file = (name: string) => join(here, name);
  const config = `
[ca]
default_ca = test
[test]
database = ${file("index")}
new_certs_dir = ${here}
rand_serial = yes
policy = anything
unique_subject = no
x509_extensions = wanted
[anything]
commonName = supplied
[wanted]
${order.extensions}
[req]
distinguished_name = dn
prompt = no
[dn]
CN = ${order.commonName}
`;
  await Promise.all([
    writeFile(file("config"), config),
    writeFile(file("index"), ""),
    writeFile(file("key.pem"), await makeKey(order.key)),
  ]);
  await run("openssl", ["req", "-new", "-config", file("config"), "-key", file("key.pem"), "-out", file("request.pem"), "-utf8"]);
  const issuer =
    order.issuer === undefined
      ? ["-selfsign", "-keyfile", file("key.pem")]
      : ["-cert", order.issuer.certificateFile, "-keyfile", order.issuer.keyFile];
  await run("openssl", [
    ...["ca", "-batch", "-notext", "-utf8", "-config", file("config"), "-in", file("request.pem"), "-out", file("certificate.pem")],
    ...[
      "-md",
      order.digestless ? "null" : order.digest,
      "-startdate",
      generalizedTime(order.from),
      "-enddate",
      generalizedTime(order.to),
      ...issuer,
    ],
  ]);
  const [certificate, key] = await Promise.all([readFile(file("certificate.pem"), "utf8"), readFile(file("key.pem"), "utf8")]);
  return { certificate, key, certificateFile: file("certificate.pem"), keyFile: file("key.pem") };
}

const SERVER_EXTENSIONS = [
  "basicConstraints = critical, CA:FALSE",
  "keyUsage = critical, digitalSignature, keyEncipherment",
  "extendedKeyUsage = serverAuth, clientAuth",
];

function leafExtensions({ names, extensions }: CertificateWishes): string {
  const alternatives = names.map((name) => `${isIP(name) === 0 ? "DNS" : "IP"}:${name}`);
  return [
    ...(extensions === undefined ? SERVER_EXTENSIONS : [extensions]),
    ...(alternatives.length === 0 ? [] : [`subjectAltName = ${alternatives.join(", ")}`]),
  ].join("\n");
}

const CA_EXTENSIONS = "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = hash";

function caOf(own: IssuedCertificate, root: IssuedCertificate, between: string, digestless: boolean): TestCa {
  const issued = new Map<string, Promise<IssuedCertificate>>();
  async function issueNew(wishes: CertificateWishes): Promise<IssuedCertificate> {
    const leaf = await sign({
      commonName: wishes.commonName ?? wishes.names[0] ?? "nameless",
      extensions: leafExtensions(wishes),
      key: wishes.key ?? "ec",
      digest: wishes.digest ?? "sha256",
      from: wishes.from ?? new Date(Date.now() - DAY),
      to: wishes.to ?? new Date(Date.now() + 30 * DAY),
      ...(wishes.selfSigned === true ? { digestless: wishes.key === "ed25519" } : { issuer: own, digestless }),
    });
    if (wishes.selfSigned === true || between === "") return leaf;
    const certificate = leaf.certificate + between;
    await writeFile(leaf.certificateFile, certificate);
    return { ...leaf, certificate };
  }
  return {
    pem: root.certificate,
    file: root.certificateFile,
    own: own.certificate,
    issue(wishes) {
      const memo = JSON.stringify(wishes);
      const known = issued.get(memo) ?? issueNew(wishes);
      issued.set(memo, known);
      return known;
    },
    async subordinate(options = {}) {
      const ca = await sign({
        ...caOrder(options, "Postern Test Subordinate CA"),
        digest: options.digest ?? "sha256",
        issuer: own,
        digestless,
      });
      return caOf(ca, root, ca.certificate + between, options.key === "ed25519");
    },
  };
}

function caOrder(options: CaOptions, name: string): Omit<Order, "issuer" | "digest" | "digestless"> {
  return {
    commonName: options.name ?? name,
    extensions: options.extensions ?? CA_EXTENSIONS,
    key: options.key ?? "ec",
    from: options.from ?? new Date(Date.now() - 2 * DAY),
    to: options.to ?? new Date(Date.now() + 60 * DAY),
  };
}

/** Signed by a leaf that is no CA, and sent with it: what a stolen or rented certificate could do if nobody looked. */
export function issueBelow(leaf: IssuedCertificate, wishes: CertificateWishes): Promise<IssuedCertificate> {
  return caOf(leaf, leaf, leaf.certificate, false).issue(wishes);
}

const cas = new Map<string, Promise<TestCa>>();

/** The same options give the same CA; give it another `name` for a CA that nobody trusts. */
export function createTestCa(options: CaOptions = {}): Promise<TestCa> {
  const memo = JSON.stringify(options);
  const digestless = options.key === "ed25519";
  const order = { ...caOrder(options, "Postern Test Root"), digest: "sha256", digestless } as const;
  const known = cas.get(memo) ?? sign(order).then((root) => caOf(root, root, "", digestless));
  cas.set(memo, known);
  return known;
}
