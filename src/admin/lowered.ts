/**
 * Which settings would have let a mail pass, and at what price: the rules that stood in the way of one host and how far it came
 * in, one line for the configuration, or none, out. Pure. Who acts and what a reason means is admin/advice.ts.
 */
import type { Rule } from "../policy/decision.ts";
import type { AdviceSubject } from "./advice.ts";

/** The settings that, all together, would have let this mail pass. */
interface Lowered {
  readonly published?: true;
  readonly host?: true;
  readonly floor?: "encrypted" | "opportunistic";
}

/**
 * What stood in the way, rule by rule: a lowered floor is no help where a published policy demands as much, and REQUIRETLS is
 * nobody's to lower but the sender's. Attempts that kept no rules had the floor alone.
 */
function findLowered(usual: Lowered["floor"], { report }: AdviceSubject): Lowered | undefined {
  const rules = report?.policy?.rules;
  if (report === undefined || rules === undefined) return usual === undefined ? undefined : { floor: usual };
  const binding = rules.filter(({ effect }) => effect === "won" || effect === "holds");
  if (binding.some(({ source, text }) => source === "requiretls" && !text.startsWith("TLS-Required"))) return undefined;
  const { step, tls } = report;
  const skipped = step === "skipped";
  const session = tls === undefined || tls.kind === "clear" ? undefined : tls.session;
  // What was lost before TLS could be judged, by a host that answers badly, no setting of ours brings back.
  if (!skipped && step !== "ehlo" && step !== "starttls" && step !== "handshake") return undefined;
  const fails = ({ source }: Rule): boolean =>
    source === "mta-sts" ? skipped || session?.webpki?.held !== true : source === "dane" ? skipped || session?.dane?.held !== true : false;
  const published = binding.some(fails);
  const host = binding.some(
    ({ source, effect, says }) => source === "host-floor" && (skipped ? effect === "won" : says === "mandatory DANE"),
  );
  const floor = skipped ? undefined : floorFor(rules.find(isFloor), tls?.kind ?? "clear");
  if (!published && !host && floor === undefined) return undefined;
  return { ...(published && { published }), ...(host && { host }), ...(floor !== undefined && { floor }) };
}

function isFloor({ source }: Rule): boolean {
  return source === "floor" || source === "domain-floor" || source === "route";
}

/** The floor that what was reached would have met; undefined if it met the one that holds. */
function floorFor(rule: Rule | undefined, reached: "clear" | "encrypted" | "authenticated"): Lowered["floor"] {
  const asks = /^(authenticated|encrypted) TLS$/.exec(rule?.says ?? "")?.[1];
  if (reached === "clear") return asks === undefined ? undefined : "opportunistic";
  return reached === "encrypted" && asks === "authenticated" ? "encrypted" : undefined;
}

/**
 * The settings with their price: nothing is lowered without saying what that means. `usual` is the floor that helps against
 * this reason where nothing else is known.
 */
export function describeLowered(usual: Lowered["floor"], subject: AdviceSubject): string | undefined {
  const lowered = findLowered(usual, subject);
  if (lowered === undefined) return undefined;
  const { published, host, floor } = lowered;
  const prices: string[] = [];
  if (published === true) prices.push("sets aside what the domain publishes, and only shows what it would have stopped");
  if (host === true) prices.push("any host that DNS names will do");
  if (floor !== undefined)
    prices.push(floor === "encrypted" ? "weakens TLS there: encrypted, to whoever answers" : "weakens TLS there: in clear text if need be");
  const route = placeOf(subject.report?.policy?.rules.find(({ source }) => source === "route")?.text ?? subject.demanded);
  const ofRoute = route !== undefined && floor !== undefined ? `set ${route}.tls to ${floor}` : undefined;
  const settings = [
    ...(published === true ? ["published: report"] : []),
    ...(host === true ? ["host: any"] : []),
    ...(floor !== undefined && ofRoute === undefined ? [`floor: ${floor}`] : []),
  ];
  const price = prices.join("; ");
  if (settings.length === 0) return `${ofRoute}   (${price})`;
  const domain = subject.nextHop.startsWith("[") ? JSON.stringify(subject.nextHop) : subject.nextHop;
  const ofDomain = `tls: { domains: { ${domain}: { ${settings.join(", ")} } } }   (in the configuration; ${price})`;
  return ofRoute === undefined ? ofDomain : `${ofRoute}, and ${ofDomain}`;
}

/** The route that made the demand: `delivery.routes[0]`, or `authenticated (delivery.routes[0])`. */
export function placeOf(demanded: string | undefined): string | undefined {
  const route = /^(?:\w+ \()?(relayhost|delivery\.[^)]*)\)?$/.exec(demanded ?? "")?.[1];
  return route === "relayhost" ? "delivery.relayhost" : route;
}
