/**
 * The network namespace that the lab lives in, so that ports 25, 53 and 443 are free and nothing gets out. Entered by
 * `unshare`; the process inside brings up its loopback interface and puts its own resolv.conf and hosts in place.
 */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureTestPackages, findCommand } from "../../../scripts/test-packages.js";
import { FIXED, LAB_NETWORK } from "./addresses.ts";

const main = fileURLToPath(new URL("../main.ts", import.meta.url));

/** Starts the lab's program in a namespace of its own; throws a sentence where that cannot be done. */
export function enterNamespace(args: readonly string[]): ChildProcess {
  if (process.platform !== "linux" || process.getuid?.() !== 0)
    throw new Error("the lab needs Linux and root: it runs in a network namespace of its own. Run it in a container, or with sudo");
  ensureTestPackages();
  const unshare = findCommand("unshare");
  if (unshare === undefined) throw new Error("unshare is missing: as root, once, node scripts/test-packages.js");
  // With a process namespace, too, every server ends with the lab's own process, however that ends; it ends with its input.
  const apart = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
  return spawn(unshare, [...apart, "--", process.execPath, main, ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, POSTERN_LAB: "inside" },
  });
}

/** Called inside. */
export function furnishNamespace(folder: string): void {
  if (process.env["POSTERN_LAB"] !== "inside") throw new Error("started outside of its namespace; node scripts/lab.js does it right");
  const ip = findCommand("ip") ?? "ip";
  try {
    execFileSync(ip, ["link", "set", "lo", "up"]);
    execFileSync(ip, ["route", "add", "local", LAB_NETWORK, "dev", "lo"]);
    for (const [file, text] of [
      ["resolv.conf", `nameserver ${FIXED.unbound}\n`],
      ["hosts", "127.0.0.1 localhost\n"],
    ] as const) {
      writeFileSync(join(folder, file), text);
      execFileSync(findCommand("mount") ?? "mount", ["--bind", join(folder, file), `/etc/${file}`]);
    }
  } catch (error) {
    throw new Error("the network namespace cannot be furnished; a container needs CAP_SYS_ADMIN and CAP_NET_ADMIN for it", {
      cause: error,
    });
  }
}
