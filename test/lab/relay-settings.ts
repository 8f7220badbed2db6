/** What a relay of the lab must be told of the world and of the domains it serves. */
import type { RelaySettings } from "./relays.ts";
import type { Site } from "./site.ts";
import type { World } from "./world/world.ts";

export async function settingsFor(world: World, sites: readonly Site[]): Promise<RelaySettings> {
  const { ca } = world.ground.certificates;
  const own = await ca.issue({ names: ["relay.test", "localhost"] });
  const local = sites.flatMap((site) => (site.local === undefined ? [] : [[site.domain, site.local] as const]));
  return {
    rootsFile: ca.file,
    trustAnchorFile: world.files.trustAnchor,
    rootHintsFile: world.files.rootHints,
    certificateFile: own.certificateFile,
    keyFile: own.keyFile,
    domains: Object.fromEntries(local),
    routes: sites.flatMap((site) => (site.route === undefined ? [] : [{ domains: [site.domain], ...site.route }])),
  };
}
