/**
 * unbound as a validating resolver with the lab's trust anchor and root hints, over UDP, TCP and, where it has a
 * certificate, TLS. It logs every question, so that scenarios can say what was never asked.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { waitUntil } from "../../support/temp.ts";
import { askServer } from "./ask.ts";
import { startProgram } from "./program.ts";

export interface UnboundOptions {
  readonly folder: string;
  readonly addresses: readonly string[];
  readonly trustAnchorFile: string;
  readonly rootHintsFile: string;
  /** DNS over TLS at this address. */
  readonly dot?: { readonly address: string; readonly certificateFile: string; readonly keyFile: string };
}

export interface Unbound extends AsyncDisposable {
  /** Every question so far: `mx.s001.sec.test TLSA`. */
  questions(): Promise<Set<string>>;
  end(): Promise<void>;
  /** Starts it again, with an empty cache. */
  begin(): Promise<void>;
}

export async function startUnbound(options: UnboundOptions): Promise<Unbound> {
  const { folder, addresses, dot } = options;
  const file = join(folder, `unbound-${addresses[0]}.conf`);
  const log = join(folder, `unbound-${addresses[0]}.log`);
  const interfaces = [...addresses, ...(dot === undefined ? [] : [`${dot.address}@853`])];
  await writeFile(
    file,
    `server:
  directory: "${folder}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: "${log}"
  log-queries: yes
  val-log-level: 1
${interfaces.map((address) => `  interface: ${address}\n`).join("")}  access-control: 0.0.0.0/0 allow
  do-ip6: no
  num-threads: 1
  ede: yes
  root-hints: "${options.rootHintsFile}"
  trust-anchor-file: "${options.trustAnchorFile}"
  local-zone: "test." nodefault
  # A zone that is repaired is believed again soon, and a server that was silent is asked again.
  val-bogus-ttl: 1
  cache-max-negative-ttl: 60
  infra-host-ttl: 5
${dot === undefined ? "" : `  tls-service-pem: "${dot.certificateFile}"\n  tls-service-key: "${dot.keyFile}"\n  tls-port: 853\n`}remote-control:
  control-enable: no
`,
  );
  let program = startProgram("unbound", ["-d", "-c", file], log);
  const answers = () =>
    waitUntil("unbound answers", async () => {
      await program.mustRun();
      const answer = await askServer(addresses[0] ?? "", ".", "SOA", 200).catch(() => undefined);
      return answer?.flag_ad === true;
    });
  await answers();
  return {
    async questions() {
      const text = await readFile(log, "utf8");
      // `[1700000000] unbound[1:0] info: 44.53.0.9 mx.example.test. A IN`
      return new Set([...text.matchAll(/ info: [\d.]+ (\S+?)\.? (\S+) IN$/gm)].map(([, name, type]) => `${name?.toLowerCase()} ${type}`));
    },
    end: () => program.end(),
    async begin() {
      program = startProgram("unbound", ["-d", "-c", file], log);
      await answers();
    },
    [Symbol.asyncDispose]: () => program.end(),
  };
}
