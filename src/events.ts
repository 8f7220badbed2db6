/**
 * Everything that happens, as typed events: the only source of log lines, and later of metrics and webhooks. Each says
 * facts, not sentences; cli/log.ts words them. Text that came from outside is clean before it gets here.
 */

export type PosternEvent =
  // the process
  | {
      readonly kind: "started";
      readonly version: string;
      /** `lacksCertificate`: STARTTLS is configured, and cannot be offered. */
      readonly listeners: readonly { name: string; address: string; port: number; tls: string; lacksCertificate?: true }[];
      readonly dataFolder: string;
    }
  | { readonly kind: "notice"; readonly level: "info" | "warn"; readonly text: string }
  | { readonly kind: "reloaded"; readonly changed: readonly string[] }
  | { readonly kind: "reload-refused"; readonly errors: readonly string[] }
  | { readonly kind: "stopping"; readonly reason: string }
  | { readonly kind: "stopped"; readonly leftInFlight: number }
  | { readonly kind: "fault"; readonly where: string; readonly error: Error }
  // submission
  | {
      readonly kind: "client-refused";
      readonly listener: string;
      readonly client: string;
      readonly reason: string;
      readonly detail: string;
    }
  | { readonly kind: "login-succeeded"; readonly listener: string; readonly client: string; readonly user: string }
  | {
      readonly kind: "login-failed";
      readonly listener: string;
      readonly client: string;
      readonly user: string;
      readonly failures: number;
      readonly bannedUntil?: number;
    }
  | {
      readonly kind: "command-rejected";
      readonly listener: string;
      readonly client: string;
      readonly user?: string;
      readonly command: "MAIL" | "RCPT" | "DATA" | "AUTH";
      readonly argument: string;
      readonly reply: string;
    }
  | {
      readonly kind: "message-accepted";
      readonly id: string;
      readonly listener: string;
      readonly client: string;
      readonly user?: string;
      readonly sender: string;
      readonly recipients: number;
      readonly size: number;
      readonly messageId?: string;
      readonly tls?: string;
    }
  // delivery: one event an attempt and recipient
  | {
      readonly kind: "recipient-settled";
      readonly id: string;
      readonly recipient: string;
      readonly outcome: "delivered" | "deferred" | "bounced" | "expired";
      /** `mx1.example.org[192.0.2.1]:25`, or `none`. */
      readonly relay: string;
      /** Milliseconds: since received; before the queue manager; in queue and connecting; talking. */
      readonly delay: number;
      readonly delays: readonly [number, number, number, number];
      /** RFC 3463 status. */
      readonly status: string;
      /** The remote's full reply, or our problem's detail. */
      readonly text: string;
      readonly reason?: string;
      readonly whoActs?: string;
      /** `authenticated TLSv1.3 TLS_AES_256_GCM_SHA384`, `clear`, absent when nothing was connected. */
      readonly tls?: string;
      /** What was demanded, and by whom: `authenticated (MTA-STS enforce of example.org)`. */
      readonly demanded: string;
      /** Why published policy did not bind, and what it would have stopped. */
      readonly published?: string;
      readonly nextAttempt?: number;
      readonly attempt: number;
    }
  | {
      readonly kind: "notice-enqueued";
      readonly id: string;
      readonly about: string;
      readonly to: string;
      readonly action: "failed" | "delayed" | "relayed" | "expired";
    }
  | { readonly kind: "notice-suppressed"; readonly about: string; readonly why: string }
  | {
      readonly kind: "destination-down";
      readonly nextHop: string;
      readonly until: number;
      readonly reason: string;
      readonly detail: string;
      readonly postponed: number;
    }
  | { readonly kind: "destination-up"; readonly nextHop: string }
  // MTA-STS policies (RFC 8461 §3.3, §10.2)
  | {
      readonly kind: "policy-changed";
      readonly policyDomain: string;
      /** Absent: none was kept. */
      readonly from?: { readonly mode: "enforce" | "testing" | "none"; readonly id: string };
      readonly to: { readonly mode: "enforce" | "testing" | "none"; readonly id: string };
    }
  | {
      readonly kind: "policy-refresh-failed";
      readonly policyDomain: string;
      /** The policy that is kept until `expires`. */
      readonly mode: "enforce" | "testing";
      /** In a row. */
      readonly failures: number;
      readonly expires: number;
      readonly reason: string;
      readonly detail: string;
    }
  // TLS-RPT (RFC 8460)
  /** The first failure that is counted for a domain on this UTC day: told at once, not with the report of tomorrow. */
  | {
      readonly kind: "tls-failure-seen";
      readonly reportDomain: string;
      readonly policyType: "tlsa" | "sts" | "no-policy-found";
      readonly resultType: string;
      readonly reasonCode?: string;
      readonly host?: string;
    }
  | {
      readonly kind: "tls-report-sent";
      readonly reportDomain: string;
      readonly day: string;
      readonly to: string;
      readonly reportId: string;
    }
  | {
      readonly kind: "tls-report-failed";
      readonly reportDomain: string;
      readonly day: string;
      readonly detail: string;
      readonly final: boolean;
    }
  // DKIM (RFC 6376)
  | {
      readonly kind: "dkim-key";
      readonly domain: string;
      readonly selector: string;
      readonly state: "waiting-for-dns" | "active" | "retiring" | "removed";
      readonly detail: string;
    }
  /** A key that should sign does not; mail of that domain waits. */
  | { readonly kind: "dkim-failed"; readonly domain: string; readonly detail: string }
  // looking up
  /** What the resolvers are worth for DANE has changed; the detail is a sentence with the remedy. */
  | {
      readonly kind: "dnssec-state";
      readonly state: "validating" | "untested" | "untrusted" | "blind";
      readonly detail: string;
    }
  | {
      readonly kind: "resolver-started";
      readonly pid: number;
      readonly address: string;
      /** Asked instead of the root servers; empty for these. */
      readonly forwarders: readonly string[];
    }
  | { readonly kind: "resolver-died"; readonly detail: string; readonly againIn: number }
  // store
  | { readonly kind: "storage-trouble"; readonly what: "full" | "failed" | "reserve"; readonly detail: string }
  | { readonly kind: "storage-recovered" };

/** Takes events; must not throw and must not wait. */
export type EmitEvent = (event: PosternEvent) => void;
