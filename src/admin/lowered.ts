/**
 * Which settings would have let a mail pass, and at what price: the rules that stood in the way of one host and how far it came
 * in, one line for the configuration, or none, out. Pure. Who acts and what a reason means is admin/advice.ts.
 */
import type { Rule } from "../policy/decision.ts";
import { type ChannelLevel, isAtLeast } from "../policy/requirement.ts";
import type { AdviceSubject } from "./advice.ts";

/** The settings that, all together, would have let this mail pass. */
interface Lowered {
  readonly published?: true;
  readonly host?: true;
  readonly floor?: "encrypted" | "opportunistic";
  /** The host was not dialled, and the floor asks for something: what it would say to that is not known. */
  readonly unseen?: true;
}

type Usual = Pick<Lowered, "floor" | "published">;

/**
 * What stood in the way, rule by rule: a lowered floor is no help where a published policy demands as much, and REQUIRETLS is
 * nobody's to lower but the sender's. Attempts from before schema version 2 were kept without rules, and had the floor alone.
 */
function findLowered(usual: Usual, subject: AdviceSubject): Lowered | undefined {
  const lowered = findInTheWay(usual, subject);
  // Where only clear text would pass and may not, the rest would be lowered for nothing.
  return lowered?.floor === "opportunistic" && subject.neverClear === true ? undefined : lowered;
}

function findInTheWay({ floor: usual, published: only }: Usual, { report }: AdviceSubject): Lowered | undefined {
  const rules = report?.policy?.rules;
  if (report === undefined || rules === undefined) {
    if (only === true) return { published: true, unseen: true };
    return usual === undefined ? undefined : { floor: usual };
  }
  const binding = rules.filter(({ effect }) => effect === "won" || effect === "holds");
  if (binding.some(({ source }) => source === "requiretls")) return undefined;
  const { step, tls } = report;
  const skipped = step === "skipped";
  const session = tls === undefined || tls.kind === "clear" ? undefined : tls.session;
  // What was lost before TLS could be judged, by a host that answers badly, no setting of ours brings back.
  if (!skipped && step !== "ehlo" && step !== "starttls" && step !== "handshake") return undefined;
  const reached = tls?.kind ?? "clear";
  const isInTheWay = ({ source, atLeast }: Rule): boolean => {
    // A rule that forbids the host demands nothing of a channel.
    if (skipped || atLeast === undefined) return atLeast === undefined;
    if (!isAtLeast(reached, atLeast)) return true;
    // Each asks for a proof of its own, whatever the other one shows: mandatory DANE for the same as published records.
    return atLeast === "authenticated" && (source === "mta-sts" ? session?.webpki?.held : session?.dane?.held) !== true;
  };
  const published = binding.some((rule) => (rule.source === "mta-sts" || rule.source === "dane") && isInTheWay(rule));
  const host = binding.some((rule) => rule.source === "host-floor" && isInTheWay(rule));
  const floorRule = rules.find(isFloor);
  const floor = skipped ? undefined : floorFor(floorRule, reached);
  if (!published && !host && floor === undefined) return undefined;
  const unseen = skipped && floorRule?.atLeast !== undefined && floorRule.atLeast !== "clear";
  return { ...(published && { published }), ...(host && { host }), ...(floor !== undefined && { floor }), ...(unseen && { unseen }) };
}

function isFloor({ source }: Rule): boolean {
  return source === "floor" || source === "domain-floor" || source === "route";
}

/** The floor that what was reached would have met; undefined if it met the one that holds. */
function floorFor(rule: Rule | undefined, reached: ChannelLevel): Lowered["floor"] {
  if (rule?.atLeast === undefined || isAtLeast(reached, rule.atLeast)) return undefined;
  return reached === "clear" ? "opportunistic" : "encrypted";
}

/**
 * The settings with their price: nothing is lowered without saying what that means. `usual` is what helps against this reason
 * where nothing else is known.
 */
export function describeLowered(usual: Usual, subject: AdviceSubject): string | undefined {
  const lowered = findLowered(usual, subject);
  if (lowered === undefined) return undefined;
  const { published, host, floor, unseen } = lowered;
  const prices: string[] = [];
  if (published === true) prices.push("sets aside what the domain publishes, and only shows what it would have stopped");
  if (host === true) prices.push("any host that DNS names will do");
  if (floor !== undefined)
    prices.push(floor === "encrypted" ? "weakens TLS there: encrypted, to whoever answers" : "weakens TLS there: in clear text if need be");
  if (unseen === true) prices.push("its TLS was not seen; a floor may stand in the way next");
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
