/**
 * One scenario's corner of the world: a domain of its own, its records, receivers and policy host, the message sent there,
 * and claims beyond what becomes of the message. A scenario fills it in; test/lab/world builds it.
 */
import type { IssuedCertificate, CertificateWishes, TestCa } from "../support/certificates.ts";
import { type LabCertificates, tlsaFor, type TlsaParameters } from "./world/certificates.ts";
import type { Meddling } from "./world/meddler.ts";
import { PolicyHost, type Serve, servePolicy } from "./world/policy-hosts.ts";
import { Receiver, type ReceiverBehaviour } from "./world/receivers.ts";
import type { RecordFault, Zone, ZoneOptions, ZoneTree } from "./world/zones.ts";
import { FIXED } from "./world/addresses.ts";
import { type BaseZone, ZONES } from "./zones.ts";

/** What the lab lends to a site while it is filled in. */
export interface SiteIo {
  readonly tree: ZoneTree;
  readonly certificates: LabCertificates;
  readonly nextAddress: () => string;
  /** A zone of its own, in the list of names that the good certificate covers. */
  readonly nextZoneName: () => string;
}

export interface SiteMessage {
  /** MAIL says REQUIRETLS. */
  requireTls?: boolean;
  /** More header fields, without line ends. */
  header?: readonly string[];
  sender?: string;
  /** The submitter logs in with this name. */
  user?: string;
}

/** What was seen once everything is over. */
export interface Seen {
  /** Questions that the resolver got: `mx.s001.sec.test TLSA`. */
  readonly questions: ReadonlySet<string>;
  /** The relay's own account of the message, as JSON: `queue/story`. */
  readonly story: string;
}

export interface Claim {
  readonly text: string;
  readonly holds: (seen: Seen) => boolean;
}

export interface HostOptions extends ReceiverBehaviour {
  /** Where the host's name is; default: the domain's zone. */
  readonly in?: BaseZone;
  /** Its own name, instead of one made from the label. */
  readonly name?: string;
  readonly preference?: number;
  /** `closed`: nothing listens there. `none`: a name without addresses. */
  readonly listens?: "closed" | "none";
  readonly port?: number;
}

export interface StsOptions {
  readonly mode?: "enforce" | "testing" | "none";
  /** Default: the domain's MX hosts. */
  readonly mx?: readonly string[];
  readonly maxAge?: number | string;
  readonly id?: string;
  /** The TXT records instead of the one made from `id`; none with []. Strings of a record apart by `" "`. */
  readonly txt?: readonly string[];
  /** The whole file. */
  readonly text?: string;
  readonly status?: number;
  readonly type?: string;
  readonly headers?: Record<string, string>;
  readonly certificate?: IssuedCertificate;
  readonly serve?: Serve;
  /** Its address instead of the common one. */
  readonly address?: string;
  /** The name's record instead of an address: `CNAME other.test.` */
  readonly alias?: string;
}

/** A host as scenarios speak of it. */
export interface Host {
  readonly label: string;
  readonly name: string;
  readonly address: string;
  readonly receiver?: Receiver;
}

export class Site {
  /** `s012` for the faulty one, `s012c` for its control. */
  readonly id: string;
  readonly io: SiteIo;
  readonly receivers: Receiver[] = [];
  readonly policyHosts: PolicyHost[] = [];
  readonly hosts = new Map<string, Host>();
  readonly message: SiteMessage = {};
  readonly claims: Claim[] = [];
  /** Every record, and every text that a policy host serves, as it was set up. */
  readonly published: { readonly owner: string; readonly type: string; readonly data: string }[] = [];
  readonly policies: string[] = [];
  /** Receivers that may hear of the message though they do not get it, since they refuse it themselves. */
  readonly mayHear = new Set<Receiver>();
  /** `tls.domains` of the relay, for this domain. */
  local: { floor?: string; host?: string; published?: string } | undefined;
  /** An entry of `delivery.routes` for this domain. */
  route: Record<string, unknown> | undefined;
  /** Rules for name servers that meddle: name, type, how. */
  readonly meddling: { name: string; type: string; how: Meddling }[] = [];
  /** Zones with a meddler of their own: its address. */
  readonly ownMeddlers = new Set<string>();
  /** Mail that a real receiver takes. */
  real: "postfix" | "exim" | undefined;
  /** The next hop of the message; default: the domain of the zone in use. */
  recipient: string;
  domain: string;
  #zone: BaseZone | Zone = "signed";
  #sts: PolicyHost | undefined;

  constructor(id: string, io: SiteIo) {
    this.id = id;
    this.io = io;
    this.domain = this.nameIn("signed");
    this.recipient = `jo@${this.domain}`;
  }

  /** Moves the domain to another zone. To be called first. */
  use(zone: BaseZone): this {
    this.#zone = zone;
    this.setDomain(this.nameIn(zone));
    return this;
  }

  /** Gives the domain a zone of its own, whose apex it is. */
  own(options: Partial<ZoneOptions> & { readonly meddler?: true } = {}): Zone {
    const { meddler, ...zoneOptions } = options;
    const server = meddler === true ? this.io.nextAddress() : FIXED.nsd;
    if (meddler === true) this.ownMeddlers.add(server);
    const zone = this.io.tree.create(this.io.nextZoneName(), { server, ...zoneOptions });
    this.#zone = zone;
    this.setDomain(zone.name.slice(0, -1));
    return zone;
  }

  setDomain(domain: string): void {
    this.domain = domain;
    this.recipient = `jo@${domain}`;
  }

  /** A name in one of the common zones that nobody else has: `s012.sec.test`, `mx-s012.sec.test`. */
  nameIn(zone: BaseZone, label = ""): string {
    return `${label === "" ? "" : `${label}-`}${this.id}.${ZONES[zone].name}`;
  }

  /** A name beside the domain. */
  name(label: string, zone?: BaseZone): string {
    if (zone !== undefined) return this.nameIn(zone, label);
    if (typeof this.#zone === "string") return this.nameIn(this.#zone, label);
    return `${label}.${this.#zone.name.slice(0, -1)}`;
  }

  record(owner: string, type: string, data: string): void {
    this.published.push({ owner, type, data });
    this.io.tree.zoneOf(owner).add(owner, type, data);
  }

  /** An MX record of the domain and the host behind it. */
  mx(label = "mx", options: HostOptions = {}): Host {
    const host = this.host(label, options);
    this.record(this.domain, "MX", `${options.preference ?? 10} ${host.name}.`);
    return host;
  }

  /** A host with an address record and a receiver behind it. */
  host(label: string, options: HostOptions = {}): Host {
    const { in: zone, name, listens, port, preference: _preference, ...behaviour } = options;
    const made = name ?? this.name(label, zone);
    const address = this.io.nextAddress();
    if (listens !== "none") this.record(made, "A", address);
    if (listens !== undefined) return this.#keep({ label, name: made, address });
    const receiver = new Receiver(made, address, { certificate: this.io.certificates.good, ...behaviour }, port);
    this.receivers.push(receiver);
    return this.#keep({ label, name: made, address, receiver });
  }

  #keep(host: Host): Host {
    this.hosts.set(host.label, host);
    return host;
  }

  /** A TLSA record for a host's port 25, or whole record data instead of a certificate. */
  tlsa(host: Host | string, parameters: string, pem?: string, port = 25): void {
    const name = typeof host === "string" ? host : host.name;
    const data = pem === undefined ? parameters : tlsaFor(parameters as TlsaParameters, pem);
    this.record(`_${port}._tcp.${name}`, "TLSA", data);
  }

  /** A host that only DANE can vouch for, and its TLSA record. */
  daneMx(label = "mx", options: HostOptions = {}): Host {
    const { dane } = this.io.certificates;
    const host = this.mx(label, { certificate: dane, ...options });
    this.tlsa(host, "3 1 1", dane.certificate);
    return host;
  }

  /** The TXT record, the policy host's address, and the file there. */
  sts(options: StsOptions = {}): PolicyHost {
    const { mode = "enforce", id = "20261124", maxAge = 604_800, headers = {}, status = 200, type = "text/plain" } = options;
    const patterns = options.mx ?? [...this.hosts.values()].map(({ name }) => name);
    const file =
      options.text ?? `version: STSv1\nmode: ${mode}\n${patterns.map((pattern) => `mx: ${pattern}\n`).join("")}max_age: ${maxAge}\n`;
    const name = `mta-sts.${this.domain}`;
    this.policies.push(file);
    for (const txt of options.txt ?? [`v=STSv1; id=${id};`]) this.record(`_mta-sts.${this.domain}`, "TXT", `"${txt}"`);
    if (options.alias === undefined) this.record(name, "A", options.address ?? FIXED.policyHosts);
    else this.record(name, "CNAME", options.alias);
    const host = new PolicyHost(name, options.serve ?? servePolicy(file, { status, headers, type }), options.certificate);
    this.policyHosts.push(host);
    this.#sts = host;
    return host;
  }

  /** A certificate of the trusted CA, or of another. */
  issue(wishes: CertificateWishes, ca: TestCa = this.io.certificates.ca): Promise<IssuedCertificate> {
    return ca.issue(wishes);
  }

  /** Spoils signatures after signing. */
  spoil(owner: string, type: string, how: RecordFault): void {
    this.io.tree.zoneOf(owner).spoil(owner, type, how);
  }

  /** For names whose zone has a name server that meddles. */
  meddle(name: string, type: string, how: Meddling): void {
    this.meddling.push({ name, type, how });
  }

  claim(text: string, holds: (seen: Seen) => boolean): void {
    this.claims.push({ text, holds });
  }

  neverConnected(host: Host): void {
    this.claim(`nobody connects to ${host.name}`, () => host.receiver?.connections.length === 0);
  }

  neverAsked(name: string, type: string): void {
    this.claim(`${name} ${type} is never asked`, ({ questions }) => !questions.has(`${name} ${type}`));
  }

  asked(name: string, type: string): void {
    this.claim(`${name} ${type} is asked`, ({ questions }) => questions.has(`${name} ${type}`));
  }

  fetches(count: number): void {
    const host = this.#sts;
    this.claim(`the policy is fetched ${count} times`, () => (host?.requests.length ?? 0) === count);
  }

  serverName(host: Host, name: string): void {
    this.claim(`SNI at ${host.name} is ${name}`, () => host.receiver?.connections.every(({ serverName }) => serverName === name) === true);
  }
}
