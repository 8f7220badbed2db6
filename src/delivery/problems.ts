/**
 * The problems of delivery: their RFC 3463 status, whether they may ever be final, and the words in which a sender is
 * told of them. Tables only; what the admin of this relay reads is admin/advice.ts, and docs/reasons.md tells it at length.
 */
import type { WhoActs } from "../policy/outcome.ts";
import type { DeliveryProblem, HostReport, ProblemType } from "../queue/settlement.ts";

interface ProblemWords {
  /** RFC 3463 status where the one who found the problem knows none better, and no reply gave one. */
  readonly status: string;
  /**
   * False: never a reason to give up before the time is over, whoever says it is permanent. All trouble with TLS and
   * policy is of this kind: an attacker who breaks TLS must not be able to make mail bounce. Only what the sender demanded
   * himself (RFC 8689 §4.2.1) may end at once.
   */
  readonly mayBeFinal: boolean;
  /** What happened, told to the sender. A whole sentence. */
  readonly meaning: string;
  /** What the one who must act should do. A whole sentence. */
  readonly todo: string;
}

const TLS_WAITS = { status: "4.7.5", mayBeFinal: false } as const;
const POLICY_WAITS = { status: "4.7.0", mayBeFinal: false } as const;

const UNPROTECTED = "and this mail is not to be sent without that protection.";

export const PROBLEMS: Readonly<Record<ProblemType, ProblemWords>> = {
  "starttls-not-supported": {
    status: "4.7.4",
    mayBeFinal: false,
    meaning: `The receiving mail server did not offer an encrypted connection (STARTTLS), ${UNPROTECTED}`,
    todo: "Offer STARTTLS on that server, or find out what hides it on the way.",
  },
  "certificate-host-mismatch": {
    ...TLS_WAITS,
    meaning: `The receiving mail server showed a certificate for another name, so it could not prove who it is, ${UNPROTECTED}`,
    todo: "Install a certificate that names the server.",
  },
  "certificate-expired": {
    ...TLS_WAITS,
    meaning: `The certificate of the receiving mail server is out of date, so it could not prove who it is, ${UNPROTECTED}`,
    todo: "Renew the certificate of that server.",
  },
  "certificate-not-trusted": {
    ...TLS_WAITS,
    meaning: `The certificate of the receiving mail server comes from nobody whom this relay trusts, so it could not prove who it is, ${UNPROTECTED}`,
    todo: "Install a certificate of a public authority on that server, with its whole chain.",
  },
  "validation-failure": {
    ...TLS_WAITS,
    meaning: `No sufficiently protected connection to the receiving mail server could be made, ${UNPROTECTED}`,
    todo: "Let that server speak TLS 1.2 or later with a sound key and a matching certificate.",
  },
  "tlsa-invalid": {
    ...POLICY_WAITS,
    meaning: "The receiving domain protects its mail by DANE, but its TLSA records are unusable.",
    todo: "Correct the TLSA records of the receiving mail server.",
  },
  "dnssec-invalid": {
    ...POLICY_WAITS,
    meaning: "The DNS answers of the receiving domain could not be validated, so nobody can tell which protection it asks for.",
    todo: "Repair the DNSSEC of the receiving domain.",
  },
  "dane-required": {
    ...POLICY_WAITS,
    meaning: "Mail to this domain must be protected by DANE, but the domain has no usable TLSA records.",
    todo: "Publish TLSA records for the receiving mail server.",
  },
  "sts-policy-fetch-error": {
    ...POLICY_WAITS,
    meaning: "The receiving domain announces a mail security policy (MTA-STS) that could not be fetched.",
    todo: "Make the policy of the receiving domain available again.",
  },
  "sts-policy-invalid": {
    ...POLICY_WAITS,
    meaning: "The receiving domain announces a mail security policy (MTA-STS) that is malformed.",
    todo: "Correct the policy of the receiving domain.",
  },
  "sts-webpki-invalid": {
    ...POLICY_WAITS,
    meaning: "The web server with the mail security policy (MTA-STS) of the receiving domain has a bad certificate.",
    todo: "Renew the certificate of that web server.",
  },
  "dns-failure": {
    status: "4.4.3",
    mayBeFinal: false,
    meaning: "The address book of the Internet (DNS) gave no answer about the receiving domain.",
    todo: "Repair the name servers of the receiving domain.",
  },
  "domain-not-found": {
    status: "5.1.2",
    mayBeFinal: true,
    meaning: "The domain in the address does not exist or has no mail server.",
    todo: "Check the address: is the part behind the @ spelled right?",
  },
  "null-mx": {
    status: "5.1.10",
    mayBeFinal: true,
    meaning: "The domain in the address says that it takes no mail at all.",
    todo: "Check the address, and write to another one.",
  },
  loop: {
    status: "5.4.6",
    mayBeFinal: true,
    meaning: "The DNS records of the receiving domain lead back to this relay, so the message would go round in a circle.",
    todo: "Correct the MX records of the receiving domain.",
  },
  "forbidden-address": {
    status: "4.4.4",
    mayBeFinal: true,
    meaning: "The receiving mail server has an address that cannot be reached from the Internet.",
    todo: "Give the mail server of the receiving domain a public address.",
  },
  "connect-failed": {
    status: "4.4.1",
    mayBeFinal: false,
    meaning: "No connection to the receiving mail server could be made.",
    todo: "Make the mail server of the receiving domain reachable.",
  },
  "connection-lost": {
    status: "4.4.2",
    mayBeFinal: false,
    meaning: "The connection to the receiving mail server broke before it had taken the message.",
    todo: "Find out why that server, or something on the way, cuts connections.",
  },
  timeout: {
    status: "4.4.2",
    mayBeFinal: false,
    meaning: "The receiving mail server did not answer in time.",
    todo: "Find out why that server is slow.",
  },
  "protocol-error": {
    status: "4.5.0",
    mayBeFinal: false,
    meaning: "The receiving mail server gave answers that are not SMTP.",
    todo: "Find out what answers in place of that mail server.",
  },
  rejected: {
    status: "4.0.0",
    mayBeFinal: true,
    meaning: "The receiving mail server refused the message.",
    todo: "Read what the server said; its postmaster can explain it.",
  },
  "requiretls-not-offered": {
    // The code that RFC 8689 §4.2.1 asks for: "REQUIRETLS support required".
    status: "5.7.30",
    mayBeFinal: true,
    meaning:
      "The message asks to be handed only to servers that promise to protect it further on (REQUIRETLS). The receiving mail server does not promise it.",
    todo: "Send the message again without REQUIRETLS if it may travel with less protection, or ask the recipient's provider to support it.",
  },
  "requiretls-unmet": {
    // "Encryption needed", where a server had no chance to show what it offers (RFC 8689 §4.2.1).
    status: "5.7.10",
    mayBeFinal: true,
    meaning: "The message asks for a proven, encrypted way (REQUIRETLS), and there is none to the receiving mail server.",
    todo: "Send the message again without REQUIRETLS if it may travel with less protection, or ask the recipient's provider to secure mail to them.",
  },
  "resolver-blind": {
    ...POLICY_WAITS,
    meaning:
      "This relay cannot check signed DNS answers (DNSSEC) just now. The receiving domain is known to protect its mail by them (DANE), so the mail is kept back.",
    todo: "Repair the DNS resolver of this relay: it must validate DNSSEC.",
  },
  "outcome-unknown": {
    status: "4.4.2",
    mayBeFinal: false,
    meaning: "The connection broke after the whole message had been sent. It may have arrived nevertheless.",
    todo: "Ask the recipient before you send it again.",
  },
  "message-too-big": {
    status: "5.3.4",
    mayBeFinal: true,
    meaning: "The message is larger than the receiving mail server takes.",
    todo: "Send a smaller message, or share the file in another way.",
  },
  "needs-8bitmime": {
    status: "5.6.3",
    mayBeFinal: true,
    meaning: "The message contains 8-bit characters, and the receiving mail server takes none.",
    todo: "Send it in a 7-bit encoding (quoted-printable or base64).",
  },
  "needs-smtputf8": {
    status: "5.6.7",
    mayBeFinal: true,
    meaning: "The message has an internationalised address or header field, and the receiving mail server takes none.",
    todo: "Use addresses and header fields in plain ASCII for this recipient.",
  },
  "authentication-failed": {
    status: "4.7.8",
    mayBeFinal: false,
    meaning: "The next mail server on the way did not accept this relay's login.",
    todo: "Correct this relay's user name and password for that server.",
  },
  "dkim-failed": {
    status: "4.7.0",
    mayBeFinal: false,
    meaning: "This relay could not sign the message with DKIM, and does not send it unsigned.",
    todo: "Repair this relay's DKIM key of that domain.",
  },
  "not-configured": {
    status: "4.3.5",
    mayBeFinal: false,
    meaning: "This relay lacks a setting that the delivery needs.",
    todo: "Set what is missing on this relay.",
  },
  "destination-waiting": {
    status: "4.4.1",
    mayBeFinal: false,
    meaning: "The receiving mail server had just failed for other messages, so it was not tried for this one.",
    todo: "Make the mail server of the receiving domain reachable.",
  },
  expired: {
    status: "4.4.7",
    mayBeFinal: true,
    meaning: "The message could not be delivered in the time this relay keeps trying.",
    todo: "Ask the postmaster of the receiving domain.",
  },
  "dropped-by-operator": {
    status: "5.7.1",
    mayBeFinal: true,
    meaning: "The administrator of this relay removed the message.",
    todo: "Ask the administrator of this relay.",
  },
};

/** A problem found by this side, with the table's status unless a better one is given. */
export function problem(
  type: ProblemType,
  whoActs: WhoActs,
  detail: string,
  more: { status?: string; host?: string } = {},
): DeliveryProblem {
  return { type, detail, whoActs, status: more.status ?? PROBLEMS[type].status, ...(more.host !== undefined && { host: more.host }) };
}

/** What this relay refuses for want of protection, and no other problem, has one of these. */
const PROTECTION: ReadonlySet<string> = new Set(["4.7.0", "4.7.4", "4.7.5", "5.7.10", "5.7.30"]);

/**
 * Trouble with TLS, with a published policy (the RFC 8460 §4.3 words, `resolver-blind`) or with REQUIRETLS: it was this
 * relay that refused, so a reply that came with it is no diagnosis.
 */
export function isTlsTrouble(type: ProblemType): boolean {
  return PROTECTION.has(PROBLEMS[type].status);
}

/** True if a host's or DNS's "permanent" counts for this problem. */
export function mayBeFinal(found: DeliveryProblem): boolean {
  return PROBLEMS[found.type].mayBeFinal;
}

/** The problem with its status in the class of what follows from it: 4 for waiting, 5 for a failure (RFC 3463 §2). */
export function inClass(found: DeliveryProblem, digit: "4" | "5"): DeliveryProblem {
  return found.status.startsWith(digit) ? found : { ...found, status: digit + found.status.slice(1) };
}

const STEPS: readonly HostReport["step"][] = [
  "skipped",
  "connect",
  "greeting",
  "ehlo",
  "starttls",
  "handshake",
  "auth",
  "mail",
  "rcpt",
  "data",
  "final-dot",
  "done",
];

/** How much a problem found at this step tells: the nearer a host came to taking the message, the more. */
export function tellingness(step: HostReport["step"] | undefined): number {
  return step === undefined ? -1 : STEPS.indexOf(step);
}
