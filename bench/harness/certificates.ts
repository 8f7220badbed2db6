/** Certificates of a run, made by the openssl command in its folder: P-256 keys, good for two days. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";

export interface CertificateFiles {
  readonly certificate: string;
  readonly key: string;
}

/** Signed by `issuer`, or by its own key. Without DNS names it is a CA. */
export function makeCertificate(folder: string, name: string, dnsNames: readonly string[], issuer?: CertificateFiles): CertificateFiles {
  const certificate = join(folder, `${name}.pem`);
  const key = join(folder, `${name}.key`);
  const request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
  const signer = issuer === undefined ? [] : ["-CA", issuer.certificate, "-CAkey", issuer.key, "-addext", "basicConstraints=CA:FALSE"];
  const names = dnsNames.length === 0 ? [] : ["-addext", `subjectAltName=${dnsNames.map((dnsName) => `DNS:${dnsName}`).join(",")}`];
  const subject = ["-subj", `/CN=${dnsNames[0] ?? "bench CA"}`];
  execFileSync("openssl", [...request, "-keyout", key, "-out", certificate, ...subject, ...signer, ...names], { stdio: "ignore" });
  return { certificate, key };
}
