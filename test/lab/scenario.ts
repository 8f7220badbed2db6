/**
 * Scenarios as data: what is set up, what must become of a message, and the negative control, the same without the one
 * fault (or with the one protection added or taken away), which must come out the other way. Without it a scenario that
 * fails for another reason would look like a success.
 */
import type { RelayConfiguration } from "../support/relay.ts";
import type { Told } from "./expected-reports.ts";
import type { RelayName } from "./relays.ts";
import type { Site } from "./site.ts";
import type { Stage } from "./stage.ts";

export type Channel = "authenticated" | "encrypted" | "clear";

export type Expected =
  /** `host` is the label the scenario gave it; it must be the only one that got the message. */
  | { readonly kind: "delivered"; readonly channel: Channel; readonly host: string }
  | { readonly kind: "deferred"; readonly type: string; readonly words: RegExp }
  | { readonly kind: "bounced"; readonly status: string; readonly words: RegExp };

export const delivered = (channel: Channel, host = "mx"): Expected => ({ kind: "delivered", channel, host });
export const deferred = (type: string, words = /./): Expected => ({ kind: "deferred", type, words });
export const bounced = (status: string, words = /./): Expected => ({ kind: "bounced", status, words });

export interface Scenario {
  /** The claim, in plain words. */
  readonly name: string;
  /** `RFC 8461 §5`. */
  readonly section: string;
  /** Which relay's settings; default `strict`. */
  readonly relay?: RelayName;
  /** Called twice, for two domains: with the fault, and as the negative control. */
  readonly set: (site: Site, faulty: boolean) => void | Promise<void>;
  readonly must: Expected;
  /** What the control differs in, and what must become of it. */
  readonly control: readonly [what: string, expected: Expected];
  /** What TLS reports must tell of both: a line for each, as test/lab/expected-reports.ts has it. */
  readonly told: Told;
  /** Where the settings are what the control differs in. */
  readonly controlRelay?: RelayName;
}

export interface ScenarioGroup {
  readonly subject: string;
  readonly scenarios: readonly Scenario[];
}

/** A relay of its own and several steps: what is kept over time, restarts and repairs. */
export interface Story {
  readonly name: string;
  readonly section: string;
  /** Also as they follow from its domains. */
  readonly settings?: RelayConfiguration | ((site: (label: string) => Site) => RelayConfiguration);
  /** What the relay believes the time is when it starts: with it, the stage can make time pass. */
  readonly begins?: () => number;
  /** Fills in the domains it needs. */
  readonly prepare: (makeSite: (label: string) => Site) => void | Promise<void>;
  /** Says what went wrong by `stage.expect`. */
  readonly run: (stage: Stage) => Promise<void>;
}
