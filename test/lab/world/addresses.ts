/**
 * Addresses of the lab. They are ordinary global addresses, so that the relay's guard against special-use addresses is in
 * force as anywhere else; nothing leaves the network namespace, which has a loopback interface and no way out.
 */
const NETWORK = "44.53";

/** Routed to the loopback interface: every address in it may be listened on and connected to. */
export const LAB_NETWORK = `${NETWORK}.0.0/16`;

export const FIXED = {
  nsd: `${NETWORK}.0.1`,
  /** NSD for zones that a meddler stands before. The first one must not know them: it would answer for them itself. */
  backstage: `${NETWORK}.0.2`,
  /** A meddler that only spoils what it is told to. */
  meddler: `${NETWORK}.0.3`,
  unbound: `${NETWORK}.0.53`,
  /** The same resolver, over TLS. */
  dot: `${NETWORK}.0.54`,
  /** A forwarder before it that hides the AD bit and asks for no validation. */
  blind: `${NETWORK}.0.55`,
  /** A forwarder before it that drops the questions of a self-test. */
  mute: `${NETWORK}.0.56`,
  /** A resolver that can be killed. */
  mortal: `${NETWORK}.0.57`,
  /** A forwarder that turns blind. */
  failing: `${NETWORK}.0.58`,
  policyHosts: `${NETWORK}.0.80`,
  /** The same with nothing newer than TLS 1.1. */
  oldPolicyHosts: `${NETWORK}.0.81`,
  /** Takes connections to port 443 and says nothing. */
  silentPolicyHost: `${NETWORK}.0.82`,
  /** Nothing listens here. */
  nobody: `${NETWORK}.0.83`,
  postfix: `${NETWORK}.0.90`,
  exim: `${NETWORK}.0.91`,
} as const;

/** Gives a fresh address each time. */
export function createAddresses(): () => string {
  let taken = 0;
  return () => {
    taken += 1;
    if (taken >= 250 * 200) throw new Error("the lab has no more addresses");
    return `${NETWORK}.${1 + Math.floor(taken / 250)}.${1 + (taken % 250)}`;
  };
}
