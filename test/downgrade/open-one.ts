/** A relay in a process of its own, for settings that only a new process reads: opens one session, prints what came of it. */
import { loadRoots } from "../../src/delivery/tls-options.ts";
import { readFileSync } from "node:fs";
import { open } from "../support/smtp-session.ts";

const [port = "", roots = ""] = process.argv.slice(2);
const result = await open(
  Number(port),
  loadRoots(roots, (path) => readFileSync(path, "utf8")),
  { atLeast: "authenticated" },
);
console.log(
  result.kind === "open"
    ? `${result.session.tls.kind} ${result.session.tls.kind === "clear" ? "" : result.session.tls.session.protocol}`
    : result.problem.type,
);
if (result.kind === "open") await result.session.quit();
