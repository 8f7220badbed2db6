/**
 * The short names and those of other images in an environment: variables in, paths and values out, with a note for each
 * foreign name that is used. They stand on the same step as `POSTERN__` names (environment.ts).
 */
import { good } from "../mail/parsed.ts";
import { type CompatContext, FRIENDLY_NAMES, type FriendlyName, type Setting } from "./friendly-names.ts";
import type { Assignment, ConfigError } from "./origin.ts";
import { BUILT_IN_NAMES, LATER_NAMES, leftoverNames, PEER_NAMES, type PeerName } from "./peers.ts";
import { HIDDEN, redactText } from "./redact.ts";
import { type Environment, type ReadFile, readVariable, type Variable } from "./variables.ts";

const OWN_NAMES = new Set([...FRIENDLY_NAMES.map((friendly) => friendly.name), ...PEER_NAMES.flatMap((peer) => peer.names)]);

export interface CompatReading {
  readonly assignments: readonly Assignment[];
  readonly errors: readonly ConfigError[];
  readonly notes: readonly string[];
  /** What became of each name present, for `config explain-env`. */
  readonly explained: readonly { readonly name: string; readonly meaning: string }[];
}

interface Reading {
  /** `RELAY_HOST+RELAY_PORT`. */
  readonly source: string;
  readonly settings: readonly Setting[];
  readonly origin: Assignment["origin"];
}

/**
 * Reads every short name and peer's name. Names that depend on others come last: SMTPD_TLS on what LISTEN makes of the
 * listeners, DKIM_AUTOGENERATE on the sender domains, and what is said of the relay host on whether there is one.
 */
export function readCompat(environment: Environment, readFile: ReadFile, base: CompatContext): CompatReading {
  const errors: ConfigError[] = [];
  const notes: string[] = [];
  const explained: { name: string; meaning: string }[] = [];
  const readings = new Map<string, Reading[]>();
  const used = new Set<string>();
  let context = base;

  function fetch(name: string): Variable | undefined {
    const text = environment[name] ?? "";
    // TLS_KEY_FILE is a name of its own, not the file that holds a TLS_KEY.
    const variable = OWN_NAMES.has(`${name}_FILE`)
      ? good(text === "" ? undefined : { name, text })
      : readVariable(name, environment, readFile);
    if (variable.ok) return variable.value;
    if (!errors.some((error) => error.message === variable.error)) errors.push({ source: name, path: "", message: variable.error });
    return undefined;
  }
  function take(friendly: FriendlyName, source: string, value: string, origin: Assignment["origin"]): boolean {
    if (friendly.ofRelayhost === true && !context.hasRelayhost) {
      errors.push({ source, path: "", message: "there is no relay host that it could be for: set RELAYHOST, or remove it" });
      return false;
    }
    const settings = friendly.read(value, context);
    if (!settings.ok) {
      errors.push({ source, path: "", message: settings.error });
      return false;
    }
    readings.set(friendly.name, [...(readings.get(friendly.name) ?? []), { source, settings: settings.value, origin }]);
    return true;
  }
  function takeAll(friendly: FriendlyName): void {
    const own = fetch(friendly.name);
    if (own !== undefined && take(friendly, own.name, own.text, { kind: "environment", name: own.name })) {
      explained.push({ name: own.name, meaning: `sets ${friendly.keys}${friendly.secret === true ? "" : ` = ${redactText(own.text)}`}` });
    }
    for (const peer of PEER_NAMES) if (targetOf(peer, context) === friendly.name) takePeer(peer, friendly);
  }
  function leaveOut(source: string, because: string): void {
    notes.push(`compat: ${source} is not used: ${because}`);
    explained.push({ name: source, meaning: `not used: ${because}` });
  }
  function missingFor(peer: PeerName): string | undefined {
    if (peer.needs === undefined) return undefined;
    if (peer.needs === "relay host") return context.hasRelayhost ? undefined : "there is no relay host";
    return peer.needs.some((name) => isSet(name, environment)) ? undefined : `${peer.needs.join(" or ")} is not set`;
  }
  function takePeer(peer: PeerName, friendly: FriendlyName): void {
    const found = peer.names.map(fetch);
    const first = found[0];
    if (first === undefined) return;
    for (const name of peer.names) used.add(name);
    const source = found.flatMap((variable) => (variable === undefined ? [] : [variable.name])).join("+");
    const missing = missingFor(peer);
    if (missing !== undefined) {
      leaveOut(source, missing);
      return;
    }
    const value = peer.read(found.map((variable) => variable?.text));
    if (!value.ok) {
      errors.push({ source, path: "", message: value.error });
      return;
    }
    if (!take(friendly, source, value.value, { kind: "compat", name: source })) return;
    const shown = friendly.secret === true ? HIDDEN : value.value;
    const remark = friendly.remark?.(value.value);
    const meaning = `read as ${friendly.name}=${shown}${remark === undefined ? "" : `: ${remark}`}`;
    notes.push(`compat: ${source} ${meaning}`);
    explained.push({ name: source, meaning });
  }

  const isLate = (friendly: FriendlyName): boolean =>
    friendly.ofRelayhost === true || ["SMTPD_TLS", "TLS_FLOOR", "DKIM_AUTOGENERATE"].includes(friendly.name);
  for (const friendly of FRIENDLY_NAMES) if (!isLate(friendly)) takeAll(friendly);
  const listOf = (name: string, otherwise: readonly unknown[]): readonly unknown[] => {
    const value = readings.get(name)?.[0]?.settings[0]?.value;
    return Array.isArray(value) ? value : otherwise;
  };
  context = {
    ...base,
    hasRelayhost: base.hasRelayhost || readings.has("RELAYHOST"),
    listeners: listOf("LISTEN", base.listeners),
    senderDomains: listOf("ALLOWED_SENDER_DOMAINS", base.senderDomains),
    hasDkimDomains: base.hasDkimDomains || readings.has("DKIM_DOMAINS"),
  };
  for (const friendly of FRIENDLY_NAMES) if (isLate(friendly)) takeAll(friendly);
  for (const {
    names: [first, ...companions],
  } of PEER_NAMES) {
    for (const name of companions) {
      if (!used.has(name) && isSet(name, environment)) leaveOut(name, `${first} is not set`);
      used.add(name);
    }
  }

  const assignments: Assignment[] = [];
  for (const [name, all] of readings) {
    const [first, ...others] = all;
    if (first === undefined) continue;
    // Two names that agree are one wish; two that disagree are a mistake nobody should guess about.
    const other = others.find(({ settings }) => JSON.stringify(settings) !== JSON.stringify(first.settings));
    if (other !== undefined)
      errors.push({
        source: first.source,
        path: "",
        message: `${first.source} and ${other.source} both stand for ${name} and disagree; keep one`,
      });
    else assignments.push(...first.settings.map((setting) => ({ ...setting, origin: first.origin })));
  }
  for (const later of LATER_NAMES) {
    const present = later.names.filter((name) => isSet(name, environment));
    for (const name of present) {
      const refuse = later.refuse(environment[name] ?? "");
      const message = `${name} is not available yet: ${later.because}`;
      if (refuse) errors.push({ source: name, path: "", message: `${message}. Remove it to start without` });
      else notes.push(`compat: ${message}`);
      explained.push({ name, meaning: `${refuse ? "refused" : "not used"}: ${later.because}` });
    }
  }
  for (const { name, judge } of BUILT_IN_NAMES) {
    const text = environment[name] ?? "";
    if (text === "") continue;
    const { refused, because } = judge(text);
    if (refused) errors.push({ source: name, path: "", message: because });
    else notes.push(`compat: ${name} is not used: ${because}`);
    explained.push({ name, meaning: `${refused ? "refused" : "not used"}: ${because}` });
  }
  for (const leftover of leftoverNames(environment)) {
    if (leftover.restricts)
      errors.push({
        source: leftover.name,
        path: "",
        message:
          "has no equivalent here and looks as if it restricts or secures something; refusing to start without it. Remove it, or see docs/configuration.md for the setting that does the same",
      });
    else notes.push(`compat: ${leftover.name} has no equivalent here and is not used`);
    explained.push({
      name: leftover.name,
      meaning: leftover.restricts
        ? "refused: no equivalent, and it looks as if it restricts or secures something"
        : "not used: no equivalent",
    });
  }
  return { assignments, errors, notes, explained };
}

/** Docker sets HOSTNAME to the container's id; with a dot it is a name somebody chose. The file's mailname comes first. */
export function readHostname(environment: Environment): Assignment | undefined {
  const hostname = environment["HOSTNAME"] ?? "";
  return hostname.includes(".") ? { path: ["mailname"], value: hostname, origin: { kind: "compat", name: "HOSTNAME" } } : undefined;
}

function isSet(name: string, environment: Environment): boolean {
  return (environment[name] ?? "") !== "" || (environment[`${name}_FILE`] ?? "") !== "";
}

function targetOf(peer: PeerName, context: CompatContext): string {
  return peer.as === "SECURITY_LEVEL" ? (context.hasRelayhost ? "RELAYHOST_TLS" : "TLS_FLOOR") : peer.as;
}
