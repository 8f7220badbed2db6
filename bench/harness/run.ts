/**
 * One workload: a relay started through bench/peer on fresh folders, a sink and a load as processes of their own, and
 * what it cost. Everything stays on loopback addresses; every wait has an end.
 */
import { fork, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { makeCertificate } from "./certificates.ts";
import type { LoadOrder, LoadReport } from "./load.ts";
import { costOf, monotonic, percentile } from "./measure.ts";
import { certifyPublished, publishedSettings, type PublishedFiles } from "./published.ts";
import type { WorldReport } from "./policy-world.ts";
import type { Workload } from "./workloads.ts";

export interface WorkloadResult {
  readonly workload: string;
  readonly accepted: number;
  readonly delivered: number;
  readonly acceptedPerSecond: number;
  readonly deliveredPerSecond: number;
  readonly cpuMsPerMessage: number;
  readonly messagesPerCpuSecond: number;
  readonly submissionMs: { readonly p50: number; readonly p99: number };
  readonly endToEndMs: { readonly p50: number; readonly p99: number };
  readonly peakRssMb: number;
  readonly duplicates: number;
  readonly inClear: number;
  readonly connectionsOut: number;
  readonly refused: readonly string[];
  /** CPU of the messages that are not counted: first contacts, and code not compiled yet. */
  readonly warmupCpuMs: number;
  /** What was asked of DNS and of policy hosts, where domains publish policy. */
  readonly world?: WorldReport;
}

interface SinkReport {
  readonly delivered: [sequence: number, time: number][];
  readonly duplicates: number;
  readonly clear: number;
  readonly connections: number;
}

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** The next message of a child; rejects if it ends instead, or takes longer than `limit`. */
function answer<T>(child: ChildProcess, limit: number, question?: LoadOrder | string): Promise<T> {
  return new Promise((done, failed) => {
    const timer = setTimeout(() => finish(() => failed(new Error("a benchmark process does not answer"))), limit);
    const ended = () => finish(() => failed(new Error("a benchmark process ended")));
    const got = (message: unknown) => finish(() => done(message as T));
    const finish = (then: () => void) => {
      clearTimeout(timer);
      child.off("exit", ended).off("message", got);
      then();
    };
    child.once("exit", ended).once("message", got);
    if (question !== undefined) child.send(question);
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

async function untilListening(port: number, relay: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    if (relay.exitCode !== null) throw new Error("the relay ended at once");
    const listens = await new Promise<boolean>((done) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("data", () => (socket.end("QUIT\r\n"), done(true))).once("error", () => done(false));
    });
    if (listens) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error("the relay does not listen");
}

export interface RunOptions {
  /** Seconds for the whole delivery. */
  readonly limit: number;
  /** An executable with the interface of bench/peer. */
  readonly peer: string;
  /** Leaves out what the relay itself says. */
  readonly quiet?: boolean;
}

export async function runWorkload(workload: Workload, options: RunOptions): Promise<WorkloadResult> {
  const folder = mkdtempSync(join(tmpdir(), "postern-bench-"));
  const relayFolder = join(folder, "relay");
  mkdirSync(relayFolder);
  // Some peers drop their privileges.
  for (const path of [folder, relayFolder]) chmodSync(path, 0o755);
  const published = workload.published === true ? certifyPublished(folder, workload.domains) : undefined;
  const { certificate, key } = published?.mx ?? makeCertificate(folder, "sink", ["sink.test"]);
  const children: ChildProcess[] = [];
  const start = (name: string, environment: Record<string, string>) => {
    const child = fork(here(name), { env: { ...process.env, ...environment }, serialization: "advanced" });
    children.push(child);
    return child;
  };
  try {
    const sink = start("sink.ts", {
      SINK_CERT: certificate,
      SINK_KEY: key,
      SINK_DOMAINS: String(workload.domains),
      SINK_SILENT: String(workload.silent?.destinations ?? 0),
    });
    const { sinkPort, deadPort } = await answer<{ sinkPort: number; deadPort: number }>(sink, 10_000);
    const world = published === undefined ? undefined : start("policy-world.ts", worldSettings(workload, published, sinkPort));
    let extra = process.env["BENCH_EXTRA"] ?? "";
    if (world !== undefined && published !== undefined) {
      const said = await answer<{ dnsPort: number; fault?: string }>(world, 10_000);
      if (said.fault !== undefined) throw new Error(said.fault);
      extra += `\n${publishedSettings(options.peer, { mx: sinkPort, dns: said.dnsPort }, published.roots)}`;
    }
    const port = await freePort();
    const relay = spawn(options.peer, ["start", relayFolder], {
      env: {
        ...process.env,
        BENCH_IN_PORT: String(port),
        BENCH_SINK_PORT: String(sinkPort),
        BENCH_DEAD_PORT: workload.silent === undefined ? "" : String(deadPort),
        BENCH_TLS: workload.tls,
        BENCH_CERT: certificate,
        BENCH_KEY: key,
        BENCH_DOMAINS: published === undefined ? String(workload.domains) : "1",
        BENCH_DIR: relayFolder,
        BENCH_EXTRA: extra,
      },
      stdio: ["ignore", "ignore", options.quiet === true ? "ignore" : "inherit"],
    });
    children.push(relay);
    await untilListening(port, relay);
    const load = start("load.ts", {});
    const order = (messages: number, first: number, rest: Partial<LoadOrder> = {}): LoadOrder => ({
      port,
      messages,
      size: workload.size,
      connections: workload.connections,
      rate: 0,
      first,
      domain: published === undefined ? "d" : "p",
      domains: workload.domains,
      ...rest,
    });
    const limit = options.limit * 1000;
    const delivered = async (count: number) => {
      for (const end = monotonic() + limit; monotonic() < end; ) {
        if ((await answer<{ count: number }>(sink, 10_000, "count")).count >= count) return;
        await new Promise((done) => setTimeout(done, 20));
      }
    };
    const cold = costOf(relay.pid ?? 0);
    if (workload.warmup > 0) {
      await answer<LoadReport>(load, limit, order(workload.warmup, 1_000_000_000));
      await delivered(workload.warmup);
    }
    const warm = costOf(relay.pid ?? 0);
    if (workload.silent !== undefined) {
      await answer<LoadReport>(
        load,
        limit,
        order(workload.silent.messages, 2_000_000_000, { domain: "dead", domains: workload.silent.destinations }),
      );
    }
    const before = costOf(relay.pid ?? 0);
    const report = await answer<LoadReport>(load, limit, order(workload.messages, 0, { rate: workload.rate ?? 0 }));
    await delivered(workload.warmup + report.accepted.length);
    const after = costOf(relay.pid ?? 0);
    const seen = await answer<SinkReport>(sink, 10_000, "report");
    return {
      ...summarise(workload, report, seen, after.cpuMs - before.cpuMs, after.peakRssMb),
      warmupCpuMs: Math.round(warm.cpuMs - cold.cpuMs),
      ...(world !== undefined && { world: await answer<WorldReport>(world, 10_000, "report") }),
    };
  } finally {
    // Not spawnSync: `stop` waits until the relay is gone, and only this process can take note of its end.
    await once(spawn(options.peer, ["stop", relayFolder], { stdio: "ignore", timeout: 60_000 }), "exit");
    for (const child of children.toReversed()) if (child.exitCode === null) child.kill("SIGKILL");
    for (const child of children) if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    rmSync(folder, { recursive: true, force: true });
  }
}

function worldSettings(workload: Workload, files: PublishedFiles, port: number): Record<string, string> {
  return {
    WORLD_DOMAINS: String(workload.domains),
    WORLD_PORT: String(port),
    WORLD_MX_CERT: files.mx.certificate,
    WORLD_POLICY_CERT: files.policyHosts.certificate,
    WORLD_POLICY_KEY: files.policyHosts.key,
  };
}

function summarise(
  workload: Workload,
  load: LoadReport,
  sink: SinkReport,
  cpuMs: number,
  peakRssMb: number,
): Omit<WorkloadResult, "warmupCpuMs" | "world"> {
  const arrived = new Map(sink.delivered);
  const begun = Math.min(...load.accepted.map(([, at]) => at));
  const lastAccepted = Math.max(...load.accepted.map(([, , at]) => at));
  const endToEnd: number[] = [];
  let lastDelivered = begun;
  for (const [sequence, at, accepted] of load.accepted) {
    const time = arrived.get(sequence);
    if (time === undefined) continue;
    endToEnd.push(Math.max(0, time - accepted));
    lastDelivered = Math.max(lastDelivered, time, at);
  }
  const submission = load.accepted.map(([, at, answered]) => answered - at);
  const count = load.accepted.length;
  return {
    workload: workload.name,
    accepted: count,
    delivered: endToEnd.length,
    acceptedPerSecond: round((count * 1000) / (lastAccepted - begun)),
    deliveredPerSecond: round((endToEnd.length * 1000) / (lastDelivered - begun)),
    cpuMsPerMessage: round(cpuMs / count),
    messagesPerCpuSecond: round((count * 1000) / cpuMs),
    submissionMs: { p50: round(percentile(submission, 0.5)), p99: round(percentile(submission, 0.99)) },
    endToEndMs: { p50: round(percentile(endToEnd, 0.5)), p99: round(percentile(endToEnd, 0.99)) },
    peakRssMb: Math.round(peakRssMb),
    duplicates: sink.duplicates,
    inClear: sink.clear,
    connectionsOut: sink.connections,
    refused: load.refused,
  };
}

/** Three digits that count. */
function round(value: number): number {
  return Number.isFinite(value) ? Number(value.toPrecision(3)) : 0;
}
