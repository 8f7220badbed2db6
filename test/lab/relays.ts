/** The relays of the lab: the real program with the settings that scenarios choose from, each in a process of its own. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { merge, Relay, type RelayConfiguration } from "../support/relay.ts";
import type { RelayClock } from "../support/relay-clock.ts";
import { makeTempFolder } from "../support/temp.ts";
import { FIXED } from "./world/addresses.ts";

export const RELAYS = {
  /** The defaults: floor authenticated, published policy enforced, a validating resolver. */
  strict: {},
  /** Delivers to anybody, as far as published policy lets it. */
  open: { tls: { floor: "opportunistic" } },
  encrypted: { tls: { floor: "encrypted" } },
  /** Mandatory DANE (RFC 7672 §6). */
  dnssec: { tls: { host: "dnssec" } },
  proven: { tls: { host: "proven" } },
  /** Published policy is watched only. */
  report: { tls: { floor: "opportunistic", published: "report" } },
  off: { tls: { floor: "opportunistic", published: "off" } },
  /** DANE only where MX records are signed. */
  signedMxOnly: { tls: { floor: "opportunistic", daneWithUnsignedMx: false } },
  sha256First: { tls: { floor: "opportunistic", daneDigests: ["sha256", "sha512"] } },
  /** The operator lets anybody on his network go below the floor. */
  honouring: { tls: { honourTlsOptional: ["127.0.0.0/8"] } },
  /** A resolver whose AD bit nobody vouches for. */
  untrusted: { tls: { floor: "opportunistic" }, resolver: { validating: [] } },
  /** A resolver said to validate, which does not. */
  blind: { tls: { floor: "opportunistic" }, resolver: { servers: [FIXED.blind], validating: [FIXED.blind] } },
  /** A validating resolver on the way to which somebody drops the self-test. */
  mute: { tls: { floor: "opportunistic" }, resolver: { servers: [FIXED.mute], validating: [FIXED.mute] } },
  dot: { tls: { floor: "opportunistic" }, resolver: { servers: [`tls://${FIXED.dot}#resolver.sec.test`], validating: [] } },
  /** The relay starts its own. */
  managed: { tls: { floor: "opportunistic" }, resolver: { servers: ["managed"], validating: [] } },
} as const satisfies Record<string, RelayConfiguration>;

export type RelayName = keyof typeof RELAYS;

export interface RelaySettings {
  readonly rootsFile: string;
  readonly trustAnchorFile: string;
  readonly rootHintsFile: string;
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly domains: Readonly<Record<string, unknown>>;
  readonly routes: readonly Record<string, unknown>[];
}

const QUICK = {
  connect: "3s",
  greeting: "4s",
  ehlo: "4s",
  starttls: "4s",
  handshake: "4s",
  mail: "5s",
  rcpt: "5s",
  data: "5s",
  finalDot: "5s",
  quit: "1s",
  idle: "1s",
};

export function relayConfiguration(settings: RelaySettings, over: RelayConfiguration): RelayConfiguration {
  const base: RelayConfiguration = {
    mailname: "relay.test",
    submission: { certificateFile: settings.certificateFile, keyFile: settings.keyFile, limits: { connectionsPerAddress: 1000 } },
    // Nothing is tried twice while the lab looks; what must be, a story asks for.
    delivery: { allowedAddresses: [], timeouts: QUICK, routes: settings.routes, retry: { waits: ["1h"], destinationDown: "1h" } },
    tls: { roots: settings.rootsFile, domains: settings.domains, mtaSts: { fetchTimeout: "4s" } },
    resolver: {
      servers: [FIXED.unbound],
      validating: [FIXED.unbound],
      roots: settings.rootsFile,
      timeout: "6s",
      attempts: 3,
      managed: { trustAnchorFile: settings.trustAnchorFile, rootHints: settings.rootHintsFile, localNames: ["test."] },
      selfTest: { signed: ".", broken: ["broken.expired.test", "broken.wrongds.test"] },
    },
    log: { format: "json", level: "debug" },
  };
  return merge(base, over);
}

export async function startLabRelay(configuration: RelayConfiguration, clock?: RelayClock): Promise<Relay> {
  const program = process.env["POSTERN_LAB_PROGRAM"];
  const relay = new Relay(await makeTempFolder("lab-relay"), {
    configuration,
    ...(program !== undefined && { program }),
    ...(clock !== undefined && { environment: clock.environment }),
  });
  try {
    return await relay.start();
  } catch (error) {
    await relay[Symbol.asyncDispose]();
    throw error;
  }
}

/** For whoever looks into a failure: POSTERN_LAB_LOGS names a folder for the logs of relays and servers. */
export async function keepLog({ events, output }: Relay, name: string): Promise<void> {
  const kept = process.env["POSTERN_LAB_LOGS"];
  if (kept === undefined) return;
  await mkdir(kept, { recursive: true });
  const file = join(kept, `relay-${name.replaceAll(/[^A-Za-z0-9]+/g, "-").slice(0, 60)}.log`);
  await writeFile(file, [...events.map((event) => JSON.stringify(event)), ...output].join("\n"));
}
