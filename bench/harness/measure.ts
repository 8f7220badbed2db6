/** What a process tree has cost so far, from proc(5); and percentiles. */
import { readdirSync, readFileSync } from "node:fs";

/** Milliseconds of CLOCK_MONOTONIC: the same in every process. */
export function monotonic(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
}

export interface ProcessCost {
  readonly cpuMs: number;
  readonly peakRssMb: number;
}

/** CPU in clock ticks of 10 ms (USER_HZ is 100 on every Linux that matters here). */
const TICK_MS = 10;

function fieldsOf(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function treeOf(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const parent = Number(fieldsOf(Number(name))[1]);
      children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
    } catch {
      // it ended meanwhile
    }
  }
  const tree = [root];
  for (const pid of tree) tree.push(...(children.get(pid) ?? []));
  return tree;
}

/** CPU of a process and all its children, ended ones included, and the sum of their highest resident sets. */
export function costOf(root: number): ProcessCost {
  let ticks = 0;
  let peakKb = 0;
  for (const pid of treeOf(root)) {
    try {
      const fields = fieldsOf(pid);
      for (const field of [11, 12, 13, 14]) ticks += Number(fields[field]);
      peakKb += Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
    } catch {
      // it ended meanwhile
    }
  }
  return { cpuMs: ticks * TICK_MS, peakRssMb: peakKb / 1024 };
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

/** Of an even number, halfway between the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const [low = 0, high = 0] = [sorted[Math.floor((sorted.length - 1) / 2)], sorted[Math.floor(sorted.length / 2)]];
  return (low + high) / 2;
}
