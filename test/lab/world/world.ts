/** Everything around the relays, put together: sites in; zones signed and served, resolvers, receivers, policy hosts out. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startExim } from "../../support/exim.ts";
import { type RealReceiver, startPostfix } from "../../support/postfix.ts";
import type { Site, SiteIo } from "../site.ts";
import { OWN_ZONES, ZONES } from "../zones.ts";
import { createAddresses, FIXED } from "./addresses.ts";
import { type LabCertificates, makeCertificates } from "./certificates.ts";
import { type Meddler, type Meddling, startMeddler } from "./meddler.ts";
import { type Nsd, startNsd } from "./nsd.ts";
import { startPolicyServer, startSilentServer } from "./policy-hosts.ts";
import { startUnbound, type Unbound } from "./unbound.ts";
import { ZoneTree } from "./zones.ts";

/** What sites may use while they are filled in. */
export interface Ground extends SiteIo {
  readonly folder: string;
}

export async function prepareGround(folder: string): Promise<Ground> {
  const tree = new ZoneTree(join(folder, "zones"), FIXED.nsd);
  for (const { name, ...options } of Object.values(ZONES)) tree.create(name, options);
  // Names that a resolver's self-test may ask: they never validate.
  for (const zone of ["expired.test", "wrongds.test"]) tree.zoneOf(zone).add(`broken.${zone}`, "A", FIXED.nsd);
  const zoneNames = [...Object.values(ZONES).map(({ name }) => name), "sender.test", ...OWN_ZONES];
  const certificates: LabCertificates = await makeCertificates(zoneNames);
  const free = [...OWN_ZONES];
  const nextZoneName = (): string => {
    const name = free.shift();
    if (name === undefined) throw new Error("no zone name is left; raise their number in test/lab/zones.ts");
    return name;
  };
  return { folder, tree, certificates, nextAddress: createAddresses(), nextZoneName };
}

export interface World extends AsyncDisposable {
  readonly ground: Ground;
  readonly nsd: Nsd;
  readonly resolver: Unbound;
  readonly meddlers: ReadonlyMap<string, Meddler>;
  /** Killed and begun again by stories. */
  readonly mortal: Unbound;
  readonly real: ReadonlyMap<"postfix" | "exim", RealReceiver>;
  readonly files: { readonly trustAnchor: string; readonly rootHints: string };
}

/** Sites must be complete: their zones are signed here. */
export async function openWorld(ground: Ground, sites: readonly Site[]): Promise<World> {
  const { folder, tree, certificates } = ground;
  await using stack = new AsyncDisposableStack();
  const [served, rootFiles] = await Promise.all([tree.write(), writeRootFiles(ground)]);
  const frontStage = new Map([...served].filter(([name]) => tree.zones.get(name)?.options.server === FIXED.nsd));
  const backStage = new Map([...served].filter(([name]) => !frontStage.has(name)));
  const resolverCertificate = await certificates.ca.issue({ names: ["resolver.sec.test"] });
  const [nsd, behind] = await Promise.all([
    startNsd(join(folder, "nsd"), FIXED.nsd, frontStage),
    startNsd(join(folder, "nsd-behind"), FIXED.backstage, backStage),
  ]);
  stack.use(nsd);
  stack.use(behind);
  const rules = new Map(sites.flatMap(({ meddling }) => meddling.map(({ name, type, how }) => [`${name} ${type}`, how] as const)));
  const rule = (name: string, type: string): Meddling | undefined => rules.get(`${name} ${type}`);
  const meddlers = new Map<string, Meddler>();
  for (const address of [FIXED.meddler, ...sites.flatMap(({ ownMeddlers }) => [...ownMeddlers])])
    meddlers.set(address, stack.use(await startMeddler({ address, upstream: FIXED.backstage, rule })));
  const root = { folder, trustAnchorFile: rootFiles.trustAnchor, rootHintsFile: rootFiles.rootHints };
  const resolver = stack.use(
    await startUnbound({
      ...root,
      addresses: [FIXED.unbound],
      dot: { address: FIXED.dot, ...resolverCertificate },
    }),
  );
  const mortal = stack.use(await startUnbound({ ...root, addresses: [FIXED.mortal] }));
  meddlers.set(FIXED.failing, stack.use(await startMeddler({ address: FIXED.failing, upstream: FIXED.unbound })));
  stack.use(await startMeddler({ address: FIXED.blind, upstream: FIXED.unbound, blind: true }));
  const probe = (name: string): Meddling | undefined => (name === "." || name === "" || name.startsWith("broken.") ? "drop" : undefined);
  stack.use(await startMeddler({ address: FIXED.mute, upstream: FIXED.unbound, rule: probe }));
  for (const receiver of sites.flatMap(({ receivers }) => receivers)) {
    await receiver.open();
    stack.use(receiver);
  }
  const hosts = new Map(sites.flatMap(({ policyHosts }) => policyHosts).map((host) => [host.name, host]));
  stack.use(await startPolicyServer(FIXED.policyHosts, hosts, certificates.ca));
  const old = { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" } as const;
  stack.use(await startPolicyServer(FIXED.oldPolicyHosts, hosts, certificates.ca, old));
  stack.use(await startSilentServer(FIXED.silentPolicyHost));
  const real = await startRealReceivers(ground, sites, stack);
  const kept = stack.move();
  return { ground, nsd, resolver, mortal, meddlers, real, files: rootFiles, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function writeRootFiles({ folder, tree }: Ground): Promise<World["files"]> {
  const files = { trustAnchor: join(folder, "root.key"), rootHints: join(folder, "root.hints") };
  await Promise.all([writeFile(files.trustAnchor, tree.trustAnchor), writeFile(files.rootHints, tree.rootHints)]);
  return files;
}

async function startRealReceivers(
  { certificates }: Ground,
  sites: readonly Site[],
  stack: AsyncDisposableStack,
): Promise<Map<"postfix" | "exim", RealReceiver>> {
  const real = new Map<"postfix" | "exim", RealReceiver>();
  for (const [kind, start] of [
    ["postfix", startPostfix],
    ["exim", startExim],
  ] as const) {
    const domains = sites.filter((site) => site.real === kind).map(({ domain }) => domain);
    if (domains.length === 0) continue;
    const { certificateFile, keyFile } = certificates.good;
    const options = { hostname: `${kind}.sec.test`, domains, certificateFile, keyFile, address: FIXED[kind], port: 25 };
    real.set(kind, stack.use(await start(options)));
  }
  return real;
}
