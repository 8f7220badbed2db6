/**
 * What an attempt will do, decided before anything is dialled: which hosts, in which order, under which demand, or why
 * none. `postern queue why`, and later `check` and the web page, show this very value.
 */
import type { TlsRequirement } from "../policy/requirement.ts";
import type { DeliveryProblem } from "../queue/settlement.ts";

/** Where the mail of a next hop goes. */
export type Route =
  | { readonly kind: "mx" }
  | { readonly kind: "literal"; readonly address: string }
  | {
      readonly kind: "configured";
      readonly host: string;
      readonly port: number;
      readonly tls: "authenticated" | "encrypted" | "opportunistic" | "implicit" | "none";
      readonly tlsName?: string;
      readonly rootsFile?: string;
      readonly login?: { readonly username: string; readonly password: string };
      /** `relayhost` or `delivery.routes[2]`, for people. */
      readonly setting: string;
    };

/** One host, in the order it is tried. Its addresses are looked up when its turn comes. */
export interface PlannedHost {
  /** The MX name as written, the configured host, or an address literal. */
  readonly host: string;
  readonly preference: number;
  /** Present for literals only: no question is asked. */
  readonly address?: string;
  readonly port: number;
  readonly tls: "starttls" | "implicit" | "never";
  readonly serverName?: string;
  readonly requirement: TlsRequirement;
  readonly rootsFile?: string;
  readonly login?: { readonly username: string; readonly password: string };
  /** Configured hosts use the system's resolver and may be at any address. */
  readonly configured: boolean;
}

export type DeliveryPlan =
  | { readonly kind: "attempt"; readonly hosts: readonly PlannedHost[]; readonly demanded: string }
  | { readonly kind: "defer"; readonly problem: DeliveryProblem; readonly demanded: string }
  | { readonly kind: "fail"; readonly problem: DeliveryProblem; readonly demanded: string };
