/**
 * A signed root of our own on a loopback port, for a real unbound to validate: NSD serves it, ldns-signzone signs it.
 * One zone holds every name, so that no delegation leads to port 53.
 *
 *   await using root = await startSignedRoot();
 *   settings.managed.stubZones = root.stubZones; settings.managed.trustAnchorFile = root.anchorFile;
 */
import { execFile, spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { findProgram } from "../../src/lookup/managed-process.ts";
import { findFreePort, makeTempFolder, waitUntil } from "./temp.ts";

const run = promisify(execFile);

export interface SignedRoot extends AsyncDisposable {
  readonly port: number;
  /** DS record of its key. */
  readonly anchorFile: string;
  /** The setting that leads unbound here instead of to the root servers. */
  readonly stubZones: { zone: string; servers: string[] }[];
  /** Takes the name server away, as a network does that lets nothing through. */
  stop(): Promise<void>;
}

/** `signed`, `alias` and `dname` validate, `bogus` does not, `insecure` is a delegation without DS. */
const ROOT = `$ORIGIN .
$TTL 300
. IN SOA ns.root-test. admin.root-test. 1 3600 600 86400 60
. IN NS ns.root-test.
ns.root-test. IN A 127.0.0.1
signed.example. IN A 192.0.2.1
signed.example. IN MX 10 signed.example.
_25._tcp.signed.example. IN TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
bogus.example. IN A 192.0.2.2
alias.example. 120 IN CNAME signed.example.
to-insecure.example. 90 IN CNAME mx.insecure.example.
dname.example. IN DNAME under.example.
mx.under.example. IN A 192.0.2.4
insecure.example. IN NS ns.root-test.
`;

const INSECURE = `$ORIGIN insecure.example.
$TTL 300
@ IN SOA ns.root-test. admin.root-test. 1 3600 600 86400 60
@ IN NS ns.root-test.
mx IN A 192.0.2.3
to-signed IN CNAME signed.example.
`;

export async function startSignedRoot(): Promise<SignedRoot> {
  const folder = await makeTempFolder("root");
  const port = await findFreePort();
  const file = (name: string): string => join(folder.path, name);
  await writeFile(file("root.zone"), ROOT);
  await writeFile(file("insecure.zone"), INSECURE);
  const { stdout } = await run("ldns-keygen", ["-a", "ECDSAP256SHA256", "-k", "."], { cwd: folder.path });
  const key = stdout.trim();
  await run("ldns-signzone", ["root.zone", key], { cwd: folder.path });
  // After signing, so that the signature fits no more.
  const signed = await readFile(file("root.zone.signed"), "utf8");
  await writeFile(file("root.zone.signed"), signed.replace(/^(bogus\.example\.\s.*\sA\s+)192\.0\.2\.2$/m, "$1192.0.2.99"));
  const zone = (name: string, zonefile: string): string => `zone:\n  name: "${name}"\n  zonefile: "${zonefile}"\n`;
  await writeFile(
    file("nsd.conf"),
    `server:
  ip-address: 127.0.0.1@${port}
  do-ip6: no
  username: ""
  chroot: ""
  pidfile: ""
  database: ""
  logfile: "${file("nsd.log")}"
  zonesdir: "${folder.path}"
  xfrdir: "${folder.path}"
  xfrdfile: "${file("xfrd.state")}"
  zonelistfile: "${file("zone.list")}"
  server-count: 1
  rrl-ratelimit: 0
remote-control:
  control-enable: no
${zone(".", "root.zone.signed")}${zone("insecure.example.", "insecure.zone")}`,
  );
  const nsd = spawn(findProgram("nsd") ?? "nsd", ["-d", "-c", file("nsd.conf")], { stdio: "ignore" });
  const gone = new Promise<void>((done) => nsd.once("close", () => done()));
  const stop = async (): Promise<void> => {
    nsd.kill("SIGTERM");
    await gone;
  };
  await waitUntil(
    "NSD says that it runs",
    async () => (await readFile(file("nsd.log"), "utf8").catch(() => "")).includes("nsd started"),
    15_000,
  );
  const here = `127.0.0.1@${port}`;
  return {
    port,
    anchorFile: file(`${key}.ds`),
    stubZones: [
      { zone: ".", servers: [here] },
      { zone: "insecure.example.", servers: [here] },
    ],
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}
