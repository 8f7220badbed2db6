/**
 * Who may send what: a client, an address and the operator's rules in, nothing or the reply that refuses out. Pure.
 * Where the client stands (networks.ts) and who it is (login.ts) is known before; the syntax was path.ts's.
 */
import { type EmailAddress, domainOf, type ReversePath } from "../mail/address.ts";
import { type NextHop, parseDomain } from "../mail/domain.ts";
import { findByDomain, parseDomainPattern } from "../mail/domain-pattern.ts";
import { bad, good, type Parsed } from "../mail/parsed.ts";

export interface ClientFacts {
  readonly address: string;
  /** In submission.networks. */
  readonly trusted: boolean;
  readonly gateway: boolean;
  /** Has logged in, or said something that was taken for a login by `acceptAnyFromNetworks`. */
  readonly loggedIn: boolean;
  readonly user?: { readonly name: string; readonly maySendAs: SendAs };
}

export interface AcceptRules {
  readonly senderDomains: DomainList;
  readonly recipientDomains: DomainList;
}

/** Domains, and `.example.com` for subdomains. Made only by `parseDomainList`. */
export interface DomainList {
  readonly text: readonly string[];
  /** By pattern, what was written. */
  readonly patterns: ReadonlyMap<string, string>;
}

export function parseDomainList(entries: readonly string[]): Parsed<DomainList> {
  const patterns = new Map<string, string>();
  for (const entry of entries) {
    const pattern = parseDomainPattern(entry);
    if (!pattern.ok) return pattern;
    patterns.set(pattern.value, entry);
  }
  return good({ text: entries, patterns });
}

function isListed(domain: NextHop, { patterns }: DomainList): boolean {
  return findByDomain(domain, patterns) !== undefined;
}

/** What a user may put into MAIL FROM; empty means what senderDomains allows. Made only by `parseSendAs`. */
export interface SendAs {
  readonly text: readonly string[];
  readonly addresses: ReadonlySet<string>;
  readonly domains: ReadonlySet<string>;
  /** `@.example.com`: the domain with its subdomains. */
  readonly trees: readonly string[];
}

export function parseSendAs(entries: readonly string[]): Parsed<SendAs> {
  const addresses = new Set<string>();
  const domains = new Set<string>();
  const trees: string[] = [];
  for (const entry of entries) {
    const at = entry.lastIndexOf("@");
    const tree = entry.startsWith("@.");
    const domain = parseDomain(entry.slice(at + (tree ? 2 : 1)));
    if (at < 0 || !domain.ok) return bad(`not an address, @domain or @.domain: ${JSON.stringify(entry)}`);
    if (tree) trees.push(domain.value);
    else if (at === 0) domains.add(domain.value);
    else addresses.add(`${entry.slice(0, at).toLowerCase()}@${domain.value}`);
  }
  return good({ text: entries, addresses, domains, trees });
}

function maySendAs(sender: EmailAddress, allowed: SendAs): boolean {
  const domain = domainOf(sender);
  return (
    allowed.domains.has(domain) ||
    allowed.addresses.has(`${sender.slice(0, -domain.length - 1).toLowerCase()}@${domain}`) ||
    allowed.trees.some((tree) => domain === tree || domain.endsWith(`.${tree}`))
  );
}

/** May this client start a transaction at all (RFC 6409 §4.3)? */
export function judgeClient(client: ClientFacts, listener: { readonly name: string; readonly loginRequired: boolean }): string | undefined {
  if (client.loggedIn) return undefined;
  if (client.gateway) {
    return `550 5.7.1 ${client.address} is this network's gateway, where published ports arrive from, so it may not relay without login. Use SMTP_USERS, or add it to MYNETWORKS. [relay/gateway]`;
  }
  if (!client.trusted) return `530 5.7.0 login needed: ${client.address} is not in MYNETWORKS. [relay/auth]`;
  return listener.loginRequired ? `530 5.7.0 login needed: listener ${listener.name} takes no mail without it. [relay/auth]` : undefined;
}

/** May it send as this? The null path is everybody's: notices have no other (RFC 5321 §4.5.5). */
export function judgeSender(client: ClientFacts, sender: ReversePath, rules: AcceptRules): string | undefined {
  if (sender === "") return undefined;
  const { user } = client;
  if (user !== undefined && user.maySendAs.text.length > 0) {
    if (maySendAs(sender, user.maySendAs)) return undefined;
    return `550 5.7.1 user ${shown(user.name)} may not send as ${shown(sender)}, only as ${listed(user.maySendAs.text)}. [relay/user-sender]`;
  }
  const domain = domainOf(sender);
  if (rules.senderDomains.text.length === 0 || isListed(domain, rules.senderDomains)) return undefined;
  return `550 5.7.1 sender domain ${domain} is not in ALLOWED_SENDER_DOMAINS (${listed(rules.senderDomains.text)}). Add it${parentHint(domain)}. [relay/sender]`;
}

export function judgeRecipient(recipient: EmailAddress, rules: AcceptRules, isPostmaster: boolean): string | undefined {
  const domain = domainOf(recipient);
  if (isPostmaster) return undefined;
  if (rules.recipientDomains.text.length > 0) {
    return isListed(domain, rules.recipientDomains)
      ? undefined
      : `554 5.7.1 recipient domain ${domain} is outside ALLOWED_RECIPIENT_DOMAINS. [relay/recipients]`;
  }
  // RFC 6409 §4.2: nobody but this machine could know where `root@localhost` is.
  if (!domain.startsWith("[") && !domain.includes("."))
    return `550 5.1.2 recipient domain ${domain} is not fully qualified. [relay/unqualified]`;
  return undefined;
}

/** `, or .example.com` for shop.example.com; nothing for a name that has no domain above it to speak of. */
function parentHint(domain: string): string {
  const parent = domain.split(".").slice(1);
  return parent.length >= 2 ? `, or .${parent.join(".")}` : "";
}

function listed(entries: readonly string[]): string {
  const first = entries.slice(0, 3).map(shown).join(", ");
  return entries.length > 3 ? `${first} and ${entries.length - 3} more` : first;
}

/** Replies are ASCII (RFC 5321 §4.2). */
function shown(text: string): string {
  return text.slice(0, 100).replace(/[^\x20-\x7e]/g, "?");
}
