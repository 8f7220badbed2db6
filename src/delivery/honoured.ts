/**
 * Whose TLS-Required: No goes below the operator's floor (RFC 8689 §4.3 leaves that to local policy): where a message came
 * from and `tls.honourTlsOptional` in, yes or no out.
 */
import ipaddr from "ipaddr.js";
import { parseNetwork } from "../mail/network.ts";
import type { Origin } from "../queue/entry.ts";

interface Honoured {
  readonly users: ReadonlySet<string>;
  readonly networks: readonly [ipaddr.IPv4 | ipaddr.IPv6, number][];
}

// Compiled once for each configuration.
const compiledHonoured = new WeakMap<readonly string[], Honoured>();

/** True if the operator named this submitter in `tls.honourTlsOptional`: users by name, clients without login by network. */
export function isHonoured({ user, clientAddress }: Origin, setting: readonly string[]): boolean {
  if (setting.length === 0) return false;
  let honoured = compiledHonoured.get(setting);
  if (honoured === undefined) {
    honoured = compile(setting);
    compiledHonoured.set(setting, honoured);
  }
  if (user !== undefined) return honoured.users.has(user);
  if (clientAddress === undefined || !ipaddr.isValid(clientAddress)) return false;
  const client = ipaddr.process(clientAddress);
  return honoured.networks.some(([network, prefix]) => network.kind() === client.kind() && client.match(network, prefix));
}

function compile(setting: readonly string[]): Honoured {
  const users = new Set<string>();
  const networks: [ipaddr.IPv4 | ipaddr.IPv6, number][] = [];
  for (const text of setting) {
    const network = parseNetwork(text);
    if (network.ok) networks.push([ipaddr.parse(network.value.address), network.value.prefix]);
    else users.add(text);
  }
  return { users, networks };
}
