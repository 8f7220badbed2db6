/**
 * What `postern check` tells, stage by stage, as plain values: made by delivery/check.ts with the very functions that
 * deliver, sent by admin/ as one JSON line each, shown by cli/. Nothing here outlives the question, but every value is
 * bounded as if it were kept. Remote text is clean. Times are milliseconds since 1970.
 */
import type { Domain, NextHop } from "../mail/domain.ts";
import type { PolicyVerdict } from "../policy/decision.ts";
import type { HostEvidence, NextHopEvidence } from "../policy/evidence.ts";
import type { DnssecState, StsFinding } from "../policy/facts.ts";
import type { FloorSettings } from "../policy/local-policy.ts";
import type { TlsOutcome } from "../policy/outcome.ts";
import type { FetchedPolicy, StsDiscovery, StsFetchResult } from "../policy/sts-freshness.ts";
import type { ShownWish } from "./reporting-wish.ts";
import type { DeliveryProblem, HostReport } from "./settlement.ts";
import type { KeptStsPolicy } from "./store.ts";

export interface CheckOptions {
  /** As a message with REQUIRETLS, or with TLS-Required: No, would meet it (RFC 8689). */
  readonly tag?: "required" | "optional";
  /** False: DNS and published policy only; no host is dialled. */
  readonly connect: boolean;
}

/** The first line: what was asked, when, and where mail for it goes. */
export interface CheckStart {
  readonly stage: "destination";
  readonly nextHop: NextHop;
  readonly at: number;
  readonly tag?: "required" | "optional";
  /** `configured`: the setting that names the host, `relayhost` or `delivery.routes[2]`. */
  readonly route: { readonly kind: "mx" | "literal" } | { readonly kind: "configured"; readonly setting: string; readonly host: string };
  readonly published: { readonly mode: FloorSettings["published"]; readonly setting: string };
}

export interface CheckResolver {
  readonly stage: "resolver";
  readonly state: DnssecState;
}

export interface CheckMx {
  readonly stage: "mx";
  /** Absent where the route leaves nothing to ask. */
  readonly mx?: NonNullable<NextHopEvidence["mx"]>;
  /** In the order they are tried, as far as one attempt goes. */
  readonly hosts: readonly { readonly host: string; readonly preference: number }[];
  /** Hosts beyond those that one attempt tries (`delivery.hostsPerAttempt`). */
  readonly more: number;
}

export interface CheckSts {
  readonly stage: "mta-sts";
  readonly policyDomain?: Domain;
  readonly sts: NextHopEvidence["sts"];
}

/** Whether somebody asks for TLS reports of sessions there, and where they go (RFC 8460 §3). Not told where nobody could ask. */
export interface CheckReporting {
  readonly stage: "tls-rpt";
  /** The next hop, or the host that the operator named. */
  readonly reportDomain: Domain;
  readonly wish: ShownWish;
}

/** What DNS says of one host, and what follows for it. */
export interface CheckHost {
  readonly stage: "host";
  /** Its place in the order, from 0; -1 if it was ruled out before. */
  readonly index: number;
  readonly host: string;
  readonly preference?: number;
  /** Those that are tried, in order. */
  readonly addresses: readonly string[];
  /** Absent where the host was out before anything was asked of it. */
  readonly policy?: HostEvidence;
  readonly verdict: PolicyVerdict["kind"];
  /** What is demanded of the channel, if the host may be tried: `authenticated (MTA-STS enforce of example.org)`. */
  readonly demanded?: string;
  /** Why it may not be tried. */
  readonly problem?: DeliveryProblem;
}

/** One connection up to where MAIL may be said; then QUIT. */
export interface CheckConnection {
  readonly stage: "connection";
  readonly index: number;
  readonly host: string;
  readonly address?: string;
  readonly port?: number;
  /** `done`: MAIL could have been said. */
  readonly step: HostReport["step"];
  readonly tls?: TlsOutcome;
  /** What proves that it is the right host, whoever answers there. */
  readonly proof?: HostEvidence["host"];
  readonly problem?: DeliveryProblem;
  /** What published policy would have stopped, where it does not bind. */
  readonly wouldHaveFailed?: HostEvidence["wouldHaveFailed"];
  /** Delivery would use this connection: the first good one in order. */
  readonly used: boolean;
}

/** The last line. */
export interface CheckVerdict {
  readonly stage: "verdict";
  /**
   * `deliverable`: by the hosts' words or, without connections, as far as DNS and policy go. `refused`: this relay refuses for
   * want of protection. `undeliverable`: for any other reason. `lookup-failed`: a question had no answer that can be believed.
   */
  readonly kind: "deliverable" | "refused" | "undeliverable" | "lookup-failed";
  readonly nextHop: NextHop;
  /** The host that delivery would use. Without an address nobody was dialled. */
  readonly through?: {
    readonly host: string;
    readonly address?: string;
    readonly level?: TlsOutcome["kind"];
    /** Whether the session matched the host's TLSA records; absent where none were compared. */
    readonly dane?: boolean;
    readonly proof?: HostEvidence["host"];
  };
  /** Hosts that could not be used. */
  readonly failed: readonly string[];
  /** Why not; the most telling one, as delivery would put it down. */
  readonly problem?: DeliveryProblem;
  /** True if a message would fail at once, not wait. */
  readonly final?: boolean;
  /** The time for the whole question was over before every host had its turn. */
  readonly cutShort?: true;
}

export type CheckStage = CheckStart | CheckResolver | CheckMx | CheckSts | CheckReporting | CheckHost | CheckConnection | CheckVerdict;

/** Runs one check and tells its stages in order; resolves after the verdict. Rejects only for our own faults. */
export type CheckDestination = (
  nextHop: NextHop,
  options: CheckOptions,
  emit: (stage: CheckStage) => void,
  stop: AbortSignal,
) => Promise<void>;

/** What a fetch that the admin ordered came to. */
export interface PolicyRefresh {
  readonly policyDomain: Domain;
  /** What the TXT record says now. */
  readonly record: StsDiscovery;
  /** Absent: nothing was fetched, since no record announces a policy and none is kept (RFC 8461 §3.1). */
  readonly fetch?: StsFetchResult;
  /** What was kept before. */
  readonly before?: FetchedPolicy;
  /** What applies to mail from now on. */
  readonly finding: StsFinding;
}

/** What the admin may see and do about published policy. */
export interface PolicyDesk {
  /** The operator's part: floors on both scales, and how far published policy counts. */
  floors(): FloorSettings;
  list(page: {
    readonly limit: number;
    readonly after?: string;
  }): Promise<{ readonly policies: readonly KeptStsPolicy[]; readonly next?: string }>;
  /** As it is kept; asks nobody. */
  show(policyDomain: Domain): Promise<KeptStsPolicy | undefined>;
  /** Looks the record up and fetches the policy now, whatever is kept. What is kept only ever grows better by it (RFC 8461 §3.3). */
  refresh(policyDomain: Domain): Promise<PolicyRefresh>;
  /** When mail for this next hop last met secure TLSA records. */
  daneSeen(nextHop: NextHop): Promise<number | undefined>;
}
