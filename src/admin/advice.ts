/**
 * What a reason means, who must act, and what the admin of this relay can do meanwhile: a `DeliveryProblem` in, plain
 * words out. Pure, and the only place that holds these words; `queue why`, the JSON answers and later the page show them.
 * Each reason has an anchor of the same name in docs/reasons.md.
 */
import type { DeliveryProblem, HostReport, ProblemType } from "../queue/settlement.ts";
import { describeLowered, placeOf } from "./lowered.ts";

export interface Advice {
  /** One sentence without a final full stop. */
  readonly meaning: string;
  /** `example.org: renew the certificate on mx1.example.org`. */
  readonly whoActs: string;
  /** What can be done here until then: a setting or a command, with what it costs in brackets. */
  readonly meanwhile: readonly string[];
  /** Where the reason is explained at length. */
  readonly docs: string;
}

/** The message and destination that the advice is for. Texts are clean. */
export interface AdviceSubject {
  readonly nextHop: string;
  readonly id?: string;
  /** `AttemptRecord.demanded`: who set the demand decides which setting would lower it. */
  readonly demanded?: string;
  /** The host that decided, as it was met: its rules say what besides the floor stands in the way. */
  readonly report?: Pick<HostReport, "step" | "tls" | "policy">;
  /** False once nothing waits any more: then a retry is no advice. */
  readonly waits: boolean;
  /** Nothing waits, yet somebody asks what would let mail pass: `postern check`. */
  readonly checked?: true;
  /** The problem is another message's at the same destination: what this one would meet is not known. */
  readonly untried?: true;
  /** A notice about a message with REQUIRETLS: no floor of ours lets it go in clear (RFC 8689 §5). */
  readonly neverClear?: true;
}

interface Words {
  readonly meaning: string;
  /** What the one who acts should do; `host` is the host in question. */
  readonly todo: (host: string, subject: AdviceSubject) => string;
  /** The floor that would let this mail pass, where one would. */
  readonly floor?: "encrypted" | "opportunistic";
  /** Published policy alone stands in the way, and no host was met. */
  readonly published?: true;
}

const WORDS: Record<ProblemType, Words> = {
  "starttls-not-supported": {
    meaning: "the host does not offer STARTTLS, or something on the way hides it",
    todo: (host) =>
      `offer STARTTLS on ${host}. If many unrelated domains fail alike, something on this network strips it (a firewall's SMTP inspection)`,
    floor: "opportunistic",
  },
  "certificate-host-mismatch": {
    meaning: "the host's certificate is for other names",
    todo: (host) => `get a certificate that names ${host}`,
    floor: "encrypted",
  },
  "certificate-expired": {
    meaning: "the host's certificate is out of date",
    todo: (host) => `renew the certificate on ${host}`,
    floor: "encrypted",
  },
  "certificate-not-trusted": {
    meaning: "the host's certificate does not lead to a trusted root",
    todo: (host) => `install a certificate of a public CA on ${host}, with its whole chain`,
    floor: "encrypted",
  },
  // The plain case; what stands in brackets in the detail has words of its own below.
  "validation-failure": {
    meaning: "TLS with the host failed, or its certificate is not good enough",
    todo: (host) => `make ${host} speak TLS 1.2 or later with a sound key and a matching certificate`,
    floor: "encrypted",
  },
  "tlsa-invalid": {
    meaning: "the domain's TLSA records are unusable",
    todo: (host) => `correct the TLSA records of ${host}`,
  },
  "dnssec-invalid": {
    meaning: "DNSSEC answers for the host could not be validated, so DANE cannot be ruled out",
    todo: (host) => `repair the DNSSEC of ${host}; compare https://dnsviz.net`,
  },
  "dane-required": {
    meaning: "tls.host asks for DANE here, and the domain does not offer it: signed MX records and usable TLSA records",
    todo: (host, { nextHop }) => `sign ${nextHop} by DNSSEC and publish TLSA records for ${host}; or lower tls.host for this domain`,
  },
  "sts-policy-fetch-error": {
    meaning: "the domain's MTA-STS policy could not be fetched",
    todo: (_host, { nextHop }) => `make https://mta-sts.${nextHop}/.well-known/mta-sts.txt answer`,
  },
  "sts-policy-invalid": {
    meaning: "the domain's MTA-STS policy is malformed",
    todo: (_host, { nextHop }) => `correct https://mta-sts.${nextHop}/.well-known/mta-sts.txt`,
  },
  "sts-webpki-invalid": {
    meaning: "the web server of the MTA-STS policy has a bad certificate",
    todo: (_host, { nextHop }) => `renew the certificate of mta-sts.${nextHop}`,
  },
  "dns-failure": {
    meaning: "a DNS question had no answer, so nobody knows where this mail goes",
    todo: (host) => `look at the name servers of ${host}; if other domains fail alike, at resolver.servers of this relay`,
  },
  "domain-not-found": {
    meaning: "the recipient's domain does not exist or takes no mail",
    todo: (_host, { nextHop }) => `check the address: is ${nextHop} spelled right?`,
  },
  "null-mx": {
    meaning: "the domain says that it takes no mail at all (RFC 7505)",
    todo: () => "check the address",
  },
  loop: {
    meaning: "the best mail host of the domain is this relay itself",
    todo: (_host, { nextHop }) => `correct the MX records of ${nextHop}, or add a route for it under delivery.routes`,
  },
  "forbidden-address": {
    meaning: "the domain's mail host has a private or otherwise special address",
    todo: (host) => `give ${host} a public address; if it is yours, allow its network in delivery.allowedAddresses`,
  },
  "connect-failed": {
    meaning: "no connection could be made",
    todo: (host) =>
      `start the mail server on ${host}, or let it through. If every domain fails so, outbound port 25 looks blocked: ask the provider, or set delivery.relayhost`,
  },
  "connection-lost": {
    meaning: "the host closed the connection",
    todo: (host) => `see why ${host} hangs up`,
  },
  timeout: {
    meaning: "the host was connected and then said nothing",
    todo: (host) => `see why ${host} is slow`,
  },
  "protocol-error": {
    meaning: "the host did not speak SMTP",
    todo: (host) => `see what answers on ${host}`,
  },
  rejected: {
    meaning: "the host refused the message, its sender or the recipient",
    todo: () => "read what it said, above",
  },
  "requiretls-not-offered": {
    meaning: "the message demands REQUIRETLS and no host of the domain offers it inside TLS (RFC 8689)",
    todo: () => "send it again without REQUIRETLS if it may go with less protection; no setting of this relay takes the demand away",
  },
  "requiretls-unmet": {
    meaning: "the message demands REQUIRETLS and no host of the domain could be proven over TLS (RFC 8689)",
    todo: (_host, { nextHop }) =>
      `send it again without REQUIRETLS if it may go with less protection; or ${nextHop} signs its MX records or publishes MTA-STS, and repairs its certificate`,
  },
  "resolver-blind": {
    meaning: "this relay's resolver does not validate DNSSEC, and the domain is known to use DANE",
    todo: (_host, { nextHop }) =>
      `give this relay a resolver that validates (resolver.servers: [managed], or resolver.validating); postern check ${shellWord(nextHop)} tells what its self-test saw`,
    published: true,
  },
  "outcome-unknown": {
    meaning: "the connection broke after the whole message was sent, so the host may have it",
    todo: () => "it is sent again later and may then arrive twice (RFC 5321 §4.5.3.2.6)",
  },
  "message-too-big": {
    meaning: "the message is larger than the host takes",
    todo: () => "send a smaller message",
  },
  "needs-8bitmime": {
    meaning: "the message has 8-bit octets and the host takes none",
    todo: () => "send it with a 7-bit transfer encoding",
  },
  "needs-smtputf8": {
    meaning: "the message has an internationalised address or header and the host takes none",
    todo: () => "use an ASCII address for this recipient",
  },
  "authentication-failed": {
    meaning: "the relay host refused our login",
    todo: (host) => `correct username and password for ${host} (delivery.relayhost or delivery.routes)`,
  },
  "dkim-failed": {
    meaning: "the message is to be signed with DKIM, and the key does not sign",
    todo: () => "the detail names the key; `postern dkim rotate DOMAIN` makes another, which signs once `postern dkim dns` is published",
  },
  "not-configured": {
    meaning: "this relay lacks a setting that the delivery needs",
    todo: () => "set what the detail names, then reload or restart",
  },
  "destination-waiting": {
    meaning: "another message has just failed there, so this one was not tried",
    todo: () => "it is tried when the destination's wait is over",
  },
  expired: {
    meaning: "it could not be delivered within delivery.retry.giveUpAfter; the sender was told",
    todo: (_host, { nextHop }) => `see the last attempt for what ${nextHop} did not do`,
  },
  "dropped-by-operator": {
    meaning: "an operator removed it; the sender was not told",
    todo: () => "nothing is left to do",
  },
};

/** What the detail of a `validation-failure` names in brackets (policy/decision.ts, policy/dane-match.ts, delivery/connect.ts). */
const CASES: Readonly<Record<string, Words>> = {
  "mx-not-in-policy": {
    meaning: "the domain's MTA-STS policy does not list this mail host, so no mail may go to it",
    todo: (host, { nextHop }) =>
      `list ${host} in https://mta-sts.${nextHop}/.well-known/mta-sts.txt and change the id of its record, or take the host out of the MX records`,
  },
  "dane-no-match": {
    meaning: "the host's certificate matches none of its TLSA records",
    todo: (host) => `publish a TLSA record for the key that ${host} uses now (was the key changed without DNS?)`,
    floor: "encrypted",
  },
  "mx-unproven": {
    meaning: "tls.host asks for a host that DNSSEC or MTA-STS proves, and nothing proves this one",
    todo: (host, { nextHop }) => `sign the MX records of ${nextHop}, or publish an MTA-STS policy that lists ${host}`,
  },
  "starttls-injection": {
    meaning: "something between this relay and the host slips text in before TLS begins",
    todo: (host) => `find what stands between this relay and ${host} and speaks in its place`,
  },
};

/** The host whose report tells of a problem, or that took the message: the last one met under that name. */
export function findDecisive(hosts: readonly HostReport[], problem: Pick<DeliveryProblem, "host"> | undefined): HostReport | undefined {
  const found = problem === undefined ? hosts.findLast(({ step }) => step === "done") : hosts.findLast(({ host }) => host === problem.host);
  return found ?? hosts.at(-1);
}

/** Who acts, for the narrow column of a table. */
export function whoActsShort(problem: DeliveryProblem): string {
  return problem.whoActs === "nobody" ? "nobody, wait" : problem.whoActs;
}

/** A host that this relay's own configuration names is its admin's to spell, not the sender's. */
const CONFIGURED_HOST_NOT_FOUND: Words = {
  meaning: "a host that the configuration names does not exist",
  todo: (host, { demanded }) => `correct the name ${host}${placeOf(demanded) === undefined ? "" : ` in ${placeOf(demanded)}`}`,
};

/** Mail to `bob@[192.0.2.1]`: the sender wrote what nobody can prove. */
const UNANSWERED_HOST: Words = {
  meaning: "the addresses of the domain's mail host cannot be found out: the question had no answer",
  todo: (host) =>
    `make the name servers of ${host}'s zone answer for its addresses, which may be another zone than the domain's; if other domains fail alike, look at resolver.servers of this relay`,
};

const UNANSWERED_TLSA: Words = {
  meaning: "the question for the host's TLSA records had no answer that can be believed, so DANE cannot be ruled out",
  todo: (host, { report }) => {
    const tlsa = report?.policy?.tlsa;
    const asked = tlsa?.kind === "failed" ? tlsa.asked : `_25._tcp.${host}`;
    return `make the name servers of ${host}'s zone answer for ${asked}; compare https://dnsviz.net`;
  },
};

/** No answers at all: nothing that the receiver could mend. */
const SILENT_RESOLVER: Words = {
  meaning: "this relay's resolver has no answers",
  todo: (host, { demanded }) =>
    placeOf(demanded) === undefined
      ? "this relay's resolver gets no answers: open port 53, set resolver.managed.forwarders, or resolver.servers: [system] (without DANE)"
      : `make the system's resolver answer for ${host}, which ${placeOf(demanded)} names`,
};

const LITERAL_UNPROVABLE: Words = {
  meaning: "the recipient's address has an IP address in place of a domain, and no certificate can prove who is there",
  todo: () => "write to a domain instead; or the admin of this relay lowers the floor for this address",
};

export function advise(problem: DeliveryProblem, subject: AdviceSubject): Advice {
  const words = wordsOf(problem);
  const host = problem.host ?? subject.nextHop;
  const who = { you: "you", receiver: subject.nextHop, sender: "the sender", nobody: "nobody" }[problem.whoActs];
  const meanwhile: string[] = [];
  if (subject.untried === true) {
    meanwhile.push(`postern check ${shellWord(subject.nextHop)}   (shows what stands in the way there, and what would help)`);
  } else if (subject.waits || subject.checked === true) {
    const lowered = describeLowered(words, subject);
    if (lowered !== undefined) meanwhile.push(lowered);
  }
  if (subject.waits) {
    meanwhile.push(
      `postern queue retry --domain ${shellWord(subject.nextHop)}${subject.id === undefined ? "" : `   |   postern queue retry ${subject.id}`}`,
    );
  }
  return { meaning: words.meaning, whoActs: `${who}: ${words.todo(host, subject)}`, meanwhile, docs: `docs/reasons.md#${problem.type}` };
}

function wordsOf({ type, whoActs, detail, host }: DeliveryProblem): Words {
  if (type === "dns-failure" || type === "dnssec-invalid") {
    if (whoActs === "you") return SILENT_RESOLVER;
    if (detail.startsWith("the TLSA look-up")) return UNANSWERED_TLSA;
    return type === "dns-failure" && host !== undefined ? UNANSWERED_HOST : WORDS[type];
  }
  if (type === "domain-not-found" && whoActs === "you") return CONFIGURED_HOST_NOT_FOUND;
  if (type === "not-configured" && whoActs === "sender") return LITERAL_UNPROVABLE;
  if (type !== "validation-failure") return WORDS[type];
  const named = /\(([a-z]+(?:-[a-z]+)+)\)/.exec(detail)?.[1];
  return (named === undefined ? undefined : CASES[named]) ?? WORDS[type];
}

/** A next hop as a shell takes it: an address literal's brackets are a pattern there. */
function shellWord(text: string): string {
  return /^[\w.-]+$/.test(text) ? text : `'${text.replaceAll("'", "")}'`;
}
