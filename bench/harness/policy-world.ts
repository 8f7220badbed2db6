/**
 * The DNS and the policy hosts of workload `policy`, a process of its own, so that their cost is nobody's: a resolver on
 * UDP that says what policy-domains.ts has, from answers prepared once, and an HTTPS server for every policy host. Set by
 * WORLD_DOMAINS, WORLD_PORT (of the MX hosts), WORLD_MX_CERT, WORLD_POLICY_CERT, WORLD_POLICY_KEY; to `report` it says how often
 * it was asked for each type, and for policies.
 */
import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import dnsPacket, { type Answer, type RecordType } from "dns-packet";
import { denial, POLICY_ADDRESS, policyOf, publishedDomains, type ZoneName, zoneOf } from "./policy-domains.ts";

export interface WorldReport {
  /** Questions by type: `{ MX: 100, TLSA: 67 }`. */
  readonly questions: Readonly<Record<string, number>>;
  readonly policiesServed: number;
}

const setting = (name: string): string => process.env[name] ?? "";
const domains = publishedDomains(Number(setting("WORLD_DOMAINS")));
const zone = zoneOf(domains, readFileSync(setting("WORLD_MX_CERT"), "utf8"), Number(setting("WORLD_PORT")));
const questions: Record<string, number> = {};
let policiesServed = 0;

const HEADER = 12;
const SERVFAIL = 2;
const NXDOMAIN = 3;
/** An OPT record of 1232 octets and no options (RFC 6891 §6.1.2). */
const OPT = Buffer.from([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);

interface Prepared {
  readonly flags: number;
  readonly answers: number;
  readonly authorities: number;
  /** What follows the question. */
  readonly octets: Buffer;
}

function prepare(name: string, type: RecordType): Prepared {
  const entry: ZoneName | undefined = zone.get(name);
  const found = entry?.records.filter((record) => record.type === type) ?? [];
  const flags = dnsPacket.RECURSION_DESIRED | dnsPacket.RECURSION_AVAILABLE | (entry?.secure === true ? dnsPacket.AUTHENTIC_DATA : 0);
  if (found.length > 0) return { flags, answers: found.length, authorities: 0, octets: encode(found) };
  // Only `.test` is here; what else is asked for are names whose signatures are broken, and a validating resolver refuses them.
  if (!name.endsWith(".test") && name !== "") return { flags: flags | SERVFAIL, answers: 0, authorities: 0, octets: Buffer.alloc(0) };
  const exists = entry !== undefined || [...zone.keys()].some((other) => other.endsWith(`.${name}`));
  return { flags: exists ? flags : flags | NXDOMAIN, answers: 0, authorities: 1, octets: encode([denial]) };
}

function encode(records: readonly Answer[]): Buffer {
  return dnsPacket.encode({ type: "response", answers: [...records] }).subarray(HEADER);
}

const prepared = new Map<string, Prepared>();

function answer(query: Buffer): Buffer | undefined {
  const { questions: asked = [] } = dnsPacket.decode(query);
  const [question] = asked;
  if (question === undefined) return undefined;
  questions[question.type] = (questions[question.type] ?? 0) + 1;
  const name = question.name.toLowerCase().replace(/\.$/, "");
  const key = `${name} ${question.type}`;
  const { flags, answers, authorities, octets } = prepared.get(key) ?? prepare(name, question.type);
  prepared.set(key, { flags, answers, authorities, octets });
  const hasOpt = query.readUInt16BE(10) > 0;
  const header = Buffer.alloc(HEADER);
  query.copy(header, 0, 0, 2);
  for (const [index, value] of [0x8000 | flags, 1, answers, authorities, hasOpt ? 1 : 0].entries())
    header.writeUInt16BE(value, 2 + 2 * index);
  // The question as it came, whatever its letters' case.
  const asCame = query.subarray(HEADER, query.indexOf(0, HEADER) + 5);
  return Buffer.concat([header, asCame, octets, ...(hasOpt ? [OPT] : [])]);
}

const policies = new Map(domains.filter(({ sts }) => sts).map((domain) => [`mta-sts.${domain.domain}`, policyOf(domain)]));
const files = { cert: readFileSync(setting("WORLD_POLICY_CERT")), key: readFileSync(setting("WORLD_POLICY_KEY")) };
const web = createServer(files, (request, response) => {
  const policy = request.url === "/.well-known/mta-sts.txt" ? policies.get(request.headers.host ?? "") : undefined;
  if (policy !== undefined) policiesServed += 1;
  response.writeHead(policy === undefined ? 404 : 200, { "content-type": "text/plain" }).end(policy);
});
const dns = createSocket("udp4");
dns.on("message", (query, from) => {
  const reply = answer(query);
  if (reply !== undefined) dns.send(reply, from.port, from.address);
});

process.on("message", () => process.send?.({ questions, policiesServed } satisfies WorldReport));
process.on("disconnect", () => process.exit());

const say = (message: object): void => void process.send?.(message);
web.once("error", (error: NodeJS.ErrnoException) => {
  const hint = error.code === "EACCES" ? "; run as root, or in a network namespace of your own" : "";
  say({ fault: `policy hosts cannot listen on ${POLICY_ADDRESS} port 443: ${error.message}${hint}` });
});
web.listen(443, POLICY_ADDRESS, () => dns.bind(0, "127.0.0.1", () => say({ dnsPort: dns.address().port })));
