/**
 * Every setting of Postern: name, meaning, default, and what values it takes. This schema is the reference: the JSON
 * Schema, `postern config show`, the environment names and docs/configuration.md are made from it.
 */
import { z } from "zod";
import { duration, durationText, parseDuration, size } from "./units.ts";

const port = z.int().min(0).max(65_535);
const domainList = z.array(z.string());

const floor = z.enum(["authenticated", "encrypted", "opportunistic"]);

const listener = z.strictObject({
  name: z.string().describe("Its name in logs and in `queue why`"),
  address: z.string().default("0.0.0.0").describe("The address it listens on; :: for IPv6 and IPv4"),
  port: port.describe("The port; 0 takes any free one"),
  tls: z
    .enum(["off", "starttls", "require", "implicit"])
    .default("starttls")
    .describe(
      "off: never; starttls: offered when there is a certificate; require: nothing but STARTTLS before TLS; implicit: TLS from the first octet. Without a certificate a listener with require or implicit is not opened",
    ),
  login: z
    .enum(["optional", "required"])
    .default("optional")
    .describe("required: nobody submits without login; optional: the networks of submission.networks may"),
});

const limits = z.strictObject({
  messageSize: size("25M").describe("Largest message, announced as SIZE"),
  recipients: z.int().positive().default(1000).describe("Recipients of one message; RFC 5321 §4.5.3.1.8 asks for at least 100"),
  headerSize: size("256K").describe("Octets of all header fields together"),
  headerFields: z.int().positive().default(1000).describe("Header fields of one message"),
  receivedFields: z.int().positive().default(100).describe("A message with so many Received fields is in a loop, RFC 5321 §6.3"),
  connections: z.int().positive().default(1000).describe("Clients connected at once"),
  connectionsPerAddress: z.int().positive().default(100).describe("Of those, from one address"),
  connectionsPerMinutePerAddress: z
    .int()
    .nonnegative()
    .default(0)
    .describe("New connections from one address within a minute; 0 means no limit"),
  messagesPerMinutePerAddress: z
    .int()
    .nonnegative()
    .default(0)
    .describe("Messages from one address without login within a minute; 0 means no limit"),
  messagesPerMinutePerUser: z.int().nonnegative().default(0).describe("Messages of one user within a minute; 0 means no limit"),
  recipientsPerHourPerUser: z.int().nonnegative().default(0).describe("Recipients of one user within an hour; 0 means no limit"),
  idle: duration("5m").describe("A client that says nothing for so long gets 421, RFC 5321 §4.5.3.2.7"),
  session: duration("12h").describe("No connection lasts longer, between messages"),
  handshake: duration("30s").describe("A TLS handshake takes no longer"),
  minimumRate: z
    .int()
    .nonnegative()
    .default(200)
    .describe("Octets a second that a client must send while it sends a message, measured over a minute"),
  badCommands: z.int().positive().default(20).describe("Unknown or malformed commands before 421"),
});

const login = z.strictObject({
  failureDelay: duration("2s").describe("A failed login is answered no sooner"),
  failuresPerConnection: z.int().positive().default(3).describe("Failed logins before the connection is closed"),
  failuresPerAddress: z.int().positive().default(10).describe("Failed logins of one address within banWindow that lead to a ban"),
  banWindow: duration("10m").describe("How long failed logins count"),
  ban: duration("15m").describe("How long a banned address gets 421"),
  concurrentHashes: z.int().positive().default(2).describe("Password hashes computed at once; each takes 16 MB and some 20 ms"),
  remember: duration("5m").describe("A verified login needs no new hash for so long"),
  acceptAnyFromNetworks: z
    .boolean()
    .default(false)
    .describe("For devices that must log in: from submission.networks any name and password will do"),
});

const submission = z.strictObject({
  listeners: z
    .array(listener)
    .default([
      { name: "smtp", address: "127.0.0.1", port: 2525, tls: "starttls", login: "optional" },
      { name: "submission", address: "127.0.0.1", port: 2587, tls: "starttls", login: "optional" },
      { name: "submissions", address: "127.0.0.1", port: 2465, tls: "implicit", login: "optional" },
    ])
    .describe("Where clients hand in mail"),
  certificateFile: z.string().optional().describe("Certificate chain (PEM) shown to clients; STARTTLS and login are offered only with it"),
  keyFile: z.string().optional().describe("Its private key (PEM)"),
  networks: z
    .array(z.string())
    .default(["auto"])
    .describe(
      "Who submits without login: networks like 10.0.0.0/8; auto = loopback, and in a container the attached private subnets without their gateways",
    ),
  senderDomains: domainList
    .default([])
    .describe(
      "Envelope sender domains taken from clients without login; .example.com means its subdomains. Required when networks has more than loopback",
    ),
  allowAnySenderDomain: z.boolean().default(false).describe("Says that an empty senderDomains is meant"),
  recipientDomains: domainList.default([]).describe("If not empty, mail goes to these domains only: a fence for staging"),
  bareLineEnds: z
    .enum(["normalise", "reject"])
    .default("normalise")
    .describe("A bare LF becomes CRLF and a bare CR a space, from trusted networks and logged-in users; anyone else gets 554"),
  checkFromHeader: z.boolean().default(false).describe("The From field, too, must be an address that the user may send as"),
  postmaster: z.string().optional().describe("Where mail to `postmaster` without a domain goes, and copies of notices nobody else gets"),
  hideClient: z.boolean().default(false).describe("Leaves the client's name and address out of our Received field"),
  limits: limits.prefault({}).describe("What clients may take of us"),
  login: login.prefault({}).describe("Logging in"),
});

const user = z.strictObject({
  name: z.string().min(1).describe("The name to log in with"),
  password: z.string().min(1).describe("The password, or its hash as `postern user hash` prints it").meta({ secret: true }),
  maySendAs: z.array(z.string()).default([]).describe("Addresses, @domain or @.domain; empty means any sender domain that is allowed"),
});

const timeouts = z.strictObject({
  connect: duration("30s").describe("TCP connect to one address"),
  greeting: duration("5m").describe("220, RFC 5321 §4.5.3.2.1"),
  greetingWhenCrowded: duration("30s").describe(
    "The same at destinations that have not answered yet, while such hold more than half of their share of connections: shorter than RFC 5321 §4.5.3.2.1 asks, so that silent hosts cannot keep out others",
  ),
  ehlo: duration("5m").describe("Reply to EHLO"),
  starttls: duration("2m").describe("Reply to STARTTLS"),
  handshake: duration("1m").describe("TLS handshake"),
  auth: duration("2m").describe("Each reply of a login at a relay host"),
  mail: duration("5m").describe("RFC 5321 §4.5.3.2.2"),
  rcpt: duration("5m").describe("RFC 5321 §4.5.3.2.3"),
  data: duration("2m").describe("354, RFC 5321 §4.5.3.2.4"),
  block: duration("3m").describe("Each block of the message, RFC 5321 §4.5.3.2.5"),
  finalDot: duration("10m").describe("RFC 5321 §4.5.3.2.6"),
  quit: duration("5s").describe("Reply to QUIT; the message is settled before it"),
  idle: duration("10s").describe("An open connection waits so long for another message"),
});

const concurrency = z.strictObject({
  sockets: z.int().positive().default(500).describe("Connections to all hosts together"),
  reserveForAnswering: z
    .number()
    .min(0)
    .max(0.9)
    .default(0.5)
    .describe("Share of them that only destinations which have answered may take"),
  perDestination: z.int().positive().default(20).describe("Connections to one destination"),
  firstContact: z.int().positive().default(2).describe("Connections to a destination that has not answered yet"),
  messagesPerConnection: z.int().positive().default(1000).describe("Messages before a connection is closed"),
  recipientsPerTransaction: z.int().positive().default(100).describe("RFC 5321 §4.5.3.1.8"),
  memory: size("64M").describe("Bodies of fresh messages kept at hand for their first attempt"),
});

const retry = z.strictObject({
  waits: z
    .array(durationText)
    .min(1)
    .default(["5m", "15m", "30m"])
    .transform((waits) => waits.map((wait) => parseDuration(wait) ?? 0))
    .describe("Waits after the first failures; then the last one doubles"),
  longest: duration("4h").describe("No wait is longer"),
  spread: z.number().min(0).max(0.5).default(0.1).describe("0.1 means each wait varies by ±10 %"),
  giveUpAfter: duration("5d").describe("RFC 5321 §4.5.4.1 asks for at least 4 to 5 days"),
  giveUpAfterNullSender: duration("2d").describe("The same for notices"),
  destinationDown: duration("2m").describe(
    "A destination that could not be reached at all is left alone for so long; doubles up to longest",
  ),
});

const route = z.strictObject({
  domains: domainList.min(1).describe("Recipient domains; .example.com means subdomains, * means all"),
  host: z
    .string()
    .describe("Host name or address; found as the system finds it, by /etc/hosts and container names too; its MX is not asked"),
  port: port.default(25).describe("Its port; 587 is usual for a provider that wants a login"),
  tls: z
    .enum(["authenticated", "encrypted", "opportunistic", "implicit", "none"])
    .default("authenticated")
    .describe("implicit is authenticated TLS from the first octet; none never uses TLS and allows no login"),
  tlsName: z.string().optional().describe("The name to find in its certificate, when it is not the host's"),
  rootsFile: z.string().optional().describe("CA certificates (PEM) trusted for this host instead of tls.roots"),
  username: z.string().optional().describe("The name to log in with there, only ever over authenticated TLS, RFC 4954 §14"),
  password: z.string().optional().describe("Its password").meta({ secret: true }),
});

const delivery = z.strictObject({
  relayhost: route
    .omit({ domains: true })
    .optional()
    .describe("Everything without a route goes there; without it, to the MX hosts of the domain"),
  routes: z.array(route).default([]).describe("Fixed next hops for some recipient domains"),
  port: port.default(25).describe("The port of MX hosts"),
  ipv4: z.boolean().default(true).describe("IPv4 addresses of hosts are tried"),
  ipv6: z.enum(["auto", "on", "off"]).default("auto").describe("auto: used when this machine has a global IPv6 address"),
  sourceAddress4: z.string().optional().describe("Local IPv4 address of outgoing connections"),
  sourceAddress6: z.string().optional().describe("Local IPv6 address of outgoing connections"),
  allowedAddresses: z
    .array(z.string())
    .default([])
    .describe("Special-use networks that MX hosts and address literals may nevertheless be in, for tests and private nets"),
  ownNames: z.array(z.string()).default([]).describe("More names of this relay: an MX list that has one ends there, RFC 5321 §5.1"),
  timeouts: timeouts.prefault({}).describe("How long each step of a session at another host may take"),
  concurrency: concurrency.prefault({}).describe("How much is done at once"),
  retry: retry.prefault({}).describe("When a message is tried again, and when it is given up"),
  addressesPerHost: z.int().min(2).default(4).describe("Addresses of one host that are tried"),
  hostsPerAttempt: z.int().min(1).default(8).describe("MX hosts that are tried"),
});

const hostFloor = z.enum(["any", "proven", "dnssec"]);
const published = z.enum(["enforce", "report", "off"]);

const mtaSts = z.strictObject({
  fetchTimeout: duration("1m").describe("A policy that is not there by then could not be fetched, RFC 8461 §3.3"),
  policySize: size("64K").describe("A larger policy could not be fetched, RFC 8461 §3.3"),
  retryAfter: duration("5m").describe("A failed fetch is not tried again sooner, unless the record changes, RFC 8461 §3.3"),
  refreshEvery: duration("1d").describe("Policies in use are fetched again so often, whatever the record says, RFC 8461 §10.2"),
  refreshUnused: duration("30d").describe("Policies that no mail has asked for so long are no longer refreshed"),
  concurrentFetches: z.int().positive().default(20).describe("Policies fetched at once"),
  roots: z.string().optional().describe("Who is trusted to certify policy hosts, as tls.roots; default: tls.roots"),
});

const tls = z.strictObject({
  floor: floor
    .default("authenticated")
    .describe(
      "What is asked of every host: authenticated, a certificate for its MX name; encrypted, any TLS; opportunistic, clear if it must be",
    ),
  host: hostFloor
    .default("any")
    .describe(
      "Is it the right host? any: the name that DNS gave; proven: listed by an MTA-STS policy or signed by DNSSEC; dnssec: signed, and with floor authenticated that is mandatory DANE, RFC 7672 §6",
    ),
  published: published
    .default("enforce")
    .describe(
      "What domains publish (MTA-STS, DANE): enforce; report: deliver at the floor and show what would have failed; off: not looked at",
    ),
  domains: z
    .record(
      z.string(),
      z.strictObject({
        floor: floor.optional().describe("The floor of this domain"),
        host: hostFloor.optional().describe("The floor on its hosts"),
        published: published.optional().describe("How far its published policy counts"),
      }),
    )
    .default({})
    .describe("The same for single domains; .example.com means subdomains, [192.0.2.1] mail to that address literal"),
  roots: z
    .string()
    .default("bundled")
    .describe("Who is trusted to certify: bundled (Mozilla's list in Node.js), system, or the path of a PEM file"),
  daneWithUnsignedMx: z
    .boolean()
    .default(true)
    .describe("TLSA records of signed hosts count also where the domain's MX records are not signed, RFC 7672 §2.2.1"),
  daneDigests: z
    .array(z.enum(["sha512", "sha256"]))
    .min(1)
    .default(["sha512", "sha256"])
    .describe("Digests of TLSA records that count, strongest first, RFC 7671 §9"),
  honourTlsOptional: z
    .array(z.string())
    .default([])
    .describe(
      "Whose header field TLS-Required: No goes below the floor too: user names, or networks like 10.0.0.0/8. Published policy it sets aside for anybody, RFC 8689 §3",
    ),
  mtaSts: mtaSts.prefault({}).describe("Fetching MTA-STS policies"),
});

const managedResolver = z.strictObject({
  program: z.string().default("unbound").describe("The resolver that Postern starts"),
  trustAnchorFile: z
    .string()
    .optional()
    .describe("The root's keys (DS or DNSKEY records); default: those of Debian's package dns-root-data, copied and kept up to date"),
  rootHints: z.string().optional().describe("File with the addresses of the root servers; default: those that the resolver knows"),
  forwarders: z
    .array(z.string())
    .default([])
    .describe(
      "Resolvers it asks instead of the root servers, validating what they say: 192.0.2.53, 192.0.2.53@5353, or all of them like tls://192.0.2.53#dns.example; default: those of the system where the root servers cannot be reached",
    ),
  stubZones: z
    .array(
      z.strictObject({
        zone: z.string().describe("The zone"),
        servers: z.array(z.string()).min(1).describe("Its name servers, with @port if it is not 53"),
      }),
    )
    .default([])
    .describe("Zones with name servers of their own, for private nets"),
  insecureZones: z.array(z.string()).default([]).describe("Zones below which nothing is validated, since they are private and unsigned"),
  localNames: z.array(z.string()).default([]).describe("Special names (RFC 6761) that are asked for nevertheless: test., 10.in-addr.arpa."),
});

const selfTest = z.strictObject({
  signed: z.string().default(".").describe("A signed name whose SOA must come with AD"),
  broken: z
    .array(z.string())
    .default(["dnssec-failed.org", "sigfail.ippacket.stream", "rhybar.cz"])
    .describe("Names with broken signatures: a resolver that answers one does not validate"),
  every: duration("1h").describe("How often the resolvers are tested"),
});

const resolver = z.strictObject({
  servers: z
    .array(z.string())
    .default(["managed"])
    .describe(
      "managed: a validating resolver (unbound) that Postern starts; system: those of /etc/resolv.conf; addresses, with :port if it is not 53; tls://name or tls://address#name for DNS over TLS",
    ),
  validating: z
    .array(z.string())
    .default([])
    .describe(
      "Addresses among them that validate DNSSEC and are reached by a way nobody else can write to; only their AD bit is believed, RFC 7672 §2.1.1",
    ),
  roots: z.string().optional().describe("Who is trusted to certify tls:// resolvers, as tls.roots; default: tls.roots"),
  timeout: duration("5s").describe("One try of one question"),
  attempts: z.int().positive().default(3).describe("Tries of one question, over all servers"),
  cacheEntries: z.int().positive().default(20_000).describe("Answers kept"),
  longestTtl: duration("1d").describe("No answer is kept longer"),
  managed: managedResolver.prefault({}).describe("The resolver that Postern starts"),
  selfTest: selfTest.prefault({}).describe("Whether the resolvers validate"),
});

const tlsReports = z.strictObject({
  send: z
    .enum(["auto", "on", "off"])
    .default("auto")
    .describe(
      "Daily reports to domains that ask for them, RFC 8460: auto, unless all mail goes to a relayhost; off: sessions are counted all the same, and `postern tlsrpt today` shows them",
    ),
  from: z
    .string()
    .optional()
    .describe(
      "contact-info and From of reports: an address that people can answer. Its domain is the submitter, and signs. Default: submission.postmaster, else postmaster at the mailname",
    ),
  organization: z.string().optional().describe("organization-name in reports; default: the domain of from"),
  exclude: domainList.default([]).describe("Domains that get no report, .example.com for all below it"),
  publicAddress4: z.string().optional().describe("The IPv4 address that hosts see, where a router translates; told as sending-mta-ip"),
  publicAddress6: z.string().optional().describe("The same for IPv6"),
  spread: duration("4h").describe("Reports go out at random times in the first hours of the UTC day, RFC 8460 §4.1"),
  retryFor: duration("1d").describe("A report is tried for so long after its first try, RFC 8460 §5.5"),
  perHost: z.int().positive().default(1000).describe("Reports to one receiving host within a day"),
  roots: z.string().optional().describe("Who is trusted to certify https: destinations, as tls.roots; default: tls.roots"),
  keep: duration("30d").describe(
    "How long ended reports are kept; counts are deleted two days after their day, once no report is to be built from them any more",
  ),
});

const dkim = z.strictObject({
  domains: domainList
    .default([])
    .describe(
      "Domains whose mail is signed, by the From field: keys are made at the start and sign once their records are in DNS (`postern dkim dns`). The domain of tlsReports.from gets keys besides",
    ),
  selector: z.string().default("postern").describe("What selectors begin with; a number and the kind of key follow: postern1r, postern1e"),
  algorithms: z
    .array(z.enum(["rsa-2048", "ed25519"]))
    .min(1)
    .default(["rsa-2048", "ed25519"])
    .describe("Kinds of key that are made; mail gets a signature by each. Many receivers know RSA only"),
  checkEvery: duration("1h").describe("How often the records of keys in use are looked at; those that wait for DNS every five minutes"),
  overlap: duration("10d").describe("A key that was replaced stays published for so long, since queued mail bears its signature"),
});

const data = z.strictObject({
  folder: z.string().default("data").describe("Database, control socket and keys; back it up as a whole"),
  minimumFree: size("200M").describe("With less free space clients get 452"),
  settlementReserve: size("50M").describe("With less, delivery stops too, since its outcome could not be kept"),
  keepFinished: duration("7d").describe("How long finished messages and their attempts are kept for `queue why`; bodies go at once"),
});

const log = z.strictObject({
  format: z.enum(["auto", "plain", "json"]).default("auto").describe("auto: plain on a terminal, else json"),
  level: z.enum(["debug", "info", "warn", "error"]).default("info").describe("Less than this is not logged"),
  anonymise: z.boolean().default(false).describe("Local parts of addresses are masked"),
});

export const settingsSchema = z.strictObject({
  mailname: z
    .string()
    .optional()
    .describe(
      "This relay's public name, for EHLO, Received and Message-ID: the name its sending address resolves to. Default: the machine's name if it has a dot. Without one, mail for MX hosts waits",
    ),
  data: data.prefault({}).describe("The folder that holds everything Postern keeps"),
  submission: submission.prefault({}).describe("Taking mail in"),
  users: z.array(user).default([]).describe("Users beside those of `postern user add`"),
  delivery: delivery.prefault({}).describe("Sending mail on"),
  tls: tls.prefault({}).describe("What is asked of the hosts that mail is sent to"),
  resolver: resolver.prefault({}).describe("Asking DNS"),
  tlsReports: tlsReports.prefault({}).describe("Telling domains what became of TLS with their hosts (TLS-RPT)"),
  dkim: dkim.prefault({}).describe("Signing mail"),
  log: log.prefault({}).describe("What Postern says about its work"),
});

/** Settings with every default filled in: durations in ms, sizes in octets. */
export type Settings = z.output<typeof settingsSchema>;
export type ListenerSettings = Settings["submission"]["listeners"][number];
export type SubmissionSettings = Settings["submission"];
export type DeliverySettings = Settings["delivery"];
export type RouteSettings = Omit<DeliverySettings["routes"][number], "domains">;
export type TlsSettings = Settings["tls"];
export type DkimSettings = Settings["dkim"];
