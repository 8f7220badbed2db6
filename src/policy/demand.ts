/**
 * What the operator and the message ask of a host, whatever its domain publishes: the floors on both scales, and REQUIRETLS
 * (RFC 8689 §4.2.1) in; demands out. Pure. How they go with published policy is policy/decision.ts.
 */
import { type Demand, type Demands, type HostFacts, isProvenHost, isSettled, type TlsTag, whoOf, withDnssec } from "./host-facts.ts";
import { type LocalPolicy, levelOfFloor } from "./local-policy.ts";
import type { TlsFailure } from "./outcome.ts";
import { daneLookupFailed, type ReadTlsa } from "./published.ts";
import type { Because } from "./requirement.ts";

const MX_UNPROVEN = "mx-unproven";

/** `tls.floor`: the least that any host must give. */
export function floorDemand({ local, tag }: Demands, belowFloor: boolean): Demand {
  const { floor, because } = local.floor;
  if (belowFloor)
    return {
      because: { ...because, text: "tls.honourTlsOptional" },
      atLeast: "clear",
      section: "RFC 8689 §4.2.2",
      says: "TLS if it can be had",
    };
  const atLeast = levelOfFloor(floor);
  // A bounce of a protected message is itself protected (RFC 8689 §5).
  if (tag === "preferred" && atLeast === "clear")
    return {
      because: { source: "requiretls", text: "REQUIRETLS of the message it tells of" },
      atLeast: "encrypted",
      section: "RFC 8689 §5",
      says: "never in clear",
    };
  return { because, atLeast, section: "", says: atLeast === "clear" ? "TLS if it can be had" : `${atLeast} TLS` };
}

/** RFC 8689 §4.2.1, steps 1, 2 and 4: the host must be the right one, and prove that it is that host. */
export function requireTlsDemand(facts: HostFacts, tag: TlsTag | undefined): Demand | undefined {
  if (tag !== "required" && tag !== "preferred") return undefined;
  const proven = isProvenHost(facts);
  // A notice is sent all the same; the parameter is only given where all of it holds (§2, §5).
  if (tag === "preferred" && !proven) return undefined;
  const because: Because = { source: "requiretls", text: "REQUIRETLS of the message" };
  const demand = {
    because,
    section: "RFC 8689 §4.2.1",
    says: "authenticated TLS with REQUIRETLS, for a host that is proven to be the right one",
    keyword: true,
  } as const;
  if (tag === "preferred") return { ...demand, atLeast: "clear", says: "the parameter REQUIRETLS, where it is offered" };
  if (proven) return { ...demand, atLeast: "authenticated" };
  const { host, nextHop, origin, dnssec } = facts;
  if (origin === "literal") {
    const detail = `${host} is an address, and nothing proves who answers there`;
    const failure: TlsFailure = { type: "validation-failure", detail, whoActs: "sender", code: "address-literal" };
    return { ...demand, atLeast: "authenticated", skip: { failure, lasting: true } };
  }
  const detail = `nothing proves that ${host} is a mail host of ${nextHop}: its MX records are not signed, and no MTA-STS policy lists it`;
  const failure: TlsFailure = {
    type: "validation-failure",
    detail: withDnssec(detail, dnssec),
    whoActs: whoOf(dnssec),
    code: MX_UNPROVEN,
  };
  return { ...demand, atLeast: "authenticated", skip: { failure, lasting: isSettled(facts) } };
}

/** `tls.host`: is this the right host? Routes and address literals name it themselves. */
export function hostFloorDemands(facts: HostFacts, { host: { level, because }, floor }: LocalPolicy, tlsa: ReadTlsa): Demand[] {
  const { host, nextHop, origin, mxSecurity, dnssec } = facts;
  if (level === "any" || origin === "configured" || origin === "literal") return [];
  const demand = {
    because,
    atLeast: "clear",
    section: "",
    says: level === "dnssec" ? "MX records signed by DNSSEC" : "a host proven by MTA-STS or DNSSEC",
  } as const;
  const skip = (type: TlsFailure["type"], said: string, code?: string): Demand[] => {
    const detail = withDnssec(said, dnssec);
    const failure: TlsFailure = { type, detail, whoActs: whoOf(dnssec), ...(code !== undefined && { code }) };
    return [{ ...demand, skip: { failure, lasting: isSettled(facts) } }];
  };
  if (level === "proven") {
    if (isProvenHost(facts)) return [demand];
    return skip("validation-failure", `nothing proves that ${host} is a mail host of ${nextHop} (${MX_UNPROVEN})`, MX_UNPROVEN);
  }
  if (mxSecurity !== "secure") return skip("dane-required", `the MX records of ${nextHop} are not signed`);
  if (floor.floor !== "authenticated") return [demand];
  // RFC 7672 §6, mandatory DANE: every row but "usable" is out.
  switch (tlsa.kind) {
    case "failed":
      return [daneLookupFailed(facts, tlsa, because)];
    case "usable":
      return [
        {
          ...demand,
          section: "RFC 7672 §6",
          says: "mandatory DANE",
          atLeast: "authenticated",
          ...(tlsa.dane !== undefined && { dane: tlsa.dane }),
        },
      ];
    case "unusable":
      return skip("dane-required", `none of the TLSA records of ${host} is usable`);
    case "absent":
      return skip("dane-required", `${host} has no TLSA records that DNSSEC proves`);
  }
}
