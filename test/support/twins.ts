/** Certificates of one name and one key, made by the openssl command: each could have issued every other, so paths multiply. */
import { execFile } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Their key stays in the folder as `key.pem`, they as `0.pem` and so on. */
export async function createTwins(folder: string, extensions: readonly string[]): Promise<string[]> {
  const key = join(folder, "key.pem");
  await run("openssl", ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key]);
  return Promise.all(
    extensions.map(async (wanted, index) => {
      const [config, out] = [join(folder, `${index}.config`), join(folder, `${index}.pem`)];
      await writeFile(config, `[req]\ndistinguished_name=dn\nprompt=no\nx509_extensions=v3\n[dn]\nCN=Twin\n[v3]\n${wanted}\n`);
      await run("openssl", ["req", "-x509", "-key", key, "-config", config, "-set_serial", String(index + 1), "-out", out]);
      return readFile(out, "utf8");
    }),
  );
}

/** A leaf that any of the twins may have signed. */
export async function issueByTwin(folder: string, twin: number, names: readonly string[]): Promise<X509Certificate> {
  const file = (name: string): string => join(folder, name);
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", file("leaf.key")];
  await run("openssl", ["req", "-new", ...newKey, "-subj", "/CN=x", "-out", file("csr")]);
  await writeFile(file("ext"), `subjectAltName = ${names.map((name) => `DNS:${name}`).join(", ")}\n`);
  const signed = ["-CA", file(`${twin}.pem`), "-CAkey", file("key.pem"), "-set_serial", "77", "-extfile", file("ext")];
  const { stdout } = await run("openssl", ["x509", "-req", "-in", file("csr"), ...signed]);
  return new X509Certificate(stdout);
}
