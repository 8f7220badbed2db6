/** Runs the lab from outside of its namespace, and gives its verdicts. */
import { createInterface } from "node:readline";
import { once } from "node:events";
import type { Verdict } from "./run.ts";
import { enterNamespace } from "./world/namespace.ts";

/** `only`: scenarios whose subject or name has this text. Progress, and what it complains of, goes to `report`. */
export async function runLab(
  only: string,
  report: (line: string) => void,
  take: (verdict: Verdict) => void = () => undefined,
): Promise<Verdict[]> {
  const child = enterNamespace([only]);
  const { stdout, stderr } = child;
  if (stdout === null || stderr === null) throw new Error("the lab has no output");
  const verdicts: Verdict[] = [];
  createInterface({ input: stdout }).on("line", (line) => {
    const verdict = JSON.parse(line) as Verdict;
    verdicts.push(verdict);
    take(verdict);
  });
  createInterface({ input: stderr }).on("line", report);
  const end = (): void => void child.kill("SIGTERM");
  process.once("exit", end);
  const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  process.off("exit", end);
  if (code !== 0) throw new Error(`the lab ended with ${code ?? signal}`);
  return verdicts;
}
