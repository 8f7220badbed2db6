/** NSD in the foreground, serving all zones of the lab from files that ldns-signzone made. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { waitUntil } from "../../support/temp.ts";
import { askServer } from "./ask.ts";
import { type Program, startProgram } from "./program.ts";

export interface Nsd extends AsyncDisposable {
  /** Reads changed zone files, and waits until this zone is served with this serial. */
  reload(zone: string, serial: number): Promise<void>;
}

export async function startNsd(folder: string, address: string, files: ReadonlyMap<string, string>): Promise<Nsd> {
  const at = (name: string) => join(folder, name);
  const zones = [...files].map(([name, file]) => `zone:\n  name: "${name}"\n  zonefile: "${file}"\n`);
  await mkdir(folder, { recursive: true });
  await writeFile(
    at("nsd.conf"),
    `server:
  server-count: 1
  ip-address: ${address}
  do-ip6: no
  username: ""
  chroot: ""
  database: ""
  zonesdir: "${folder}"
  pidfile: "${at("nsd.pid")}"
  logfile: "${at("nsd.log")}"
  xfrdfile: "${at("xfrd.state")}"
  xfrdir: "${folder}"
  zonelistfile: "${at("zone.list")}"
  zonefiles-check: yes
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
remote-control:
  control-enable: no
${zones.join("")}`,
  );
  const program: Program = startProgram("nsd", ["-d", "-c", at("nsd.conf")], at("nsd.log"));
  const serves = async (zone: string, serial: number): Promise<boolean> => {
    const answer = await askServer(address, zone, "SOA", 200).catch(() => undefined);
    const soa = answer?.answers?.find((record) => record.type === "SOA");
    return soa?.type === "SOA" && (soa.data.serial ?? 0) >= serial;
  };
  const last = [...files.keys()].at(-1);
  await waitUntil("NSD serves its zones", async () => {
    await program.mustRun();
    return last === undefined || serves(last, 1);
  });
  return {
    async reload(zone, serial) {
      program.signal("SIGHUP");
      await waitUntil(`NSD serves ${zone} ${serial}`, () => serves(zone, serial));
    },
    [Symbol.asyncDispose]: () => program.end(),
  };
}
