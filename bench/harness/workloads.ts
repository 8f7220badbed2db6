/** The workloads of docs/performance.md: how many messages of what size go where, and what is asked of the way out. */

export interface Workload {
  readonly name: string;
  readonly about: string;
  readonly messages: number;
  readonly size: number;
  readonly connections: number;
  readonly tls: "none" | "encrypt" | "verify";
  /** Destinations that take turns. */
  readonly domains: number;
  /** They are found by MX and publish policy (policy-domains.ts); otherwise each has a route. */
  readonly published?: boolean;
  readonly rate?: number;
  /** Messages queued first for so many silent destinations. */
  readonly silent?: { readonly messages: number; readonly destinations: number };
  /** Not counted. */
  readonly warmup: number;
}

const usual = { messages: 20_000, size: 2048, connections: 20, tls: "verify", domains: 1, warmup: 500 } as const;

export const workloads: Readonly<Record<string, Workload>> = {
  a: { ...usual, name: "a", about: "2 KB, 20 connections in, authenticated TLS out" },
  b: { ...usual, name: "b", about: "the same to 100 destinations in turn", domains: 100, warmup: 1000 },
  d: {
    ...usual,
    name: "d",
    about: "20 messages of 20 MB, authenticated TLS out",
    messages: 20,
    size: 20_000_000,
    connections: 5,
    warmup: 0,
  },
  g: {
    ...usual,
    name: "g",
    about: "100 a second while 10,000 wait for 100 silent destinations",
    messages: 1000,
    tls: "none",
    rate: 100,
    silent: { messages: 10_000, destinations: 100 },
    warmup: 0,
  },
  policy: {
    ...usual,
    name: "policy",
    about: "100 destinations found by MX, which publish MTA-STS, DANE or both (as root: policy hosts are at port 443)",
    domains: 100,
    published: true,
    warmup: 1000,
  },
};
