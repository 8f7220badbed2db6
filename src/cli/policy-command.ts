/** `postern policy show|list|refresh`: what domains publish and what this relay makes of it, as kept by it. */
import type { Command } from "commander";
import { EXIT, parseLimit, print } from "./io.ts";
import { renderPolicies, renderPolicy, renderRefresh } from "./policy-text.ts";
import type { Shared } from "./shared.ts";
import { renderJson } from "./words.ts";

const EXAMPLES = `
Examples:
  postern policy show                  the floors of this relay
  postern policy show example.net      what applies to a domain, and what is kept of its policy
  postern policy list                  every MTA-STS policy that is kept
  postern policy refresh example.net   fetch it now, and say what came`;

export function registerPolicyCommands(program: Command, shared: Shared): void {
  const { io } = shared;
  const policy = program
    .command("policy")
    .description("what domains publish, and what this relay asks of them")
    .addHelpText("after", EXAMPLES);

  policy
    .command("show [domain]")
    .description("floors, published policy and DNSSEC: of one domain, or of the relay")
    .addHelpText("after", EXAMPLES)
    .action((domain: string | undefined) =>
      shared.withConnection("either", async (connection) => {
        const answer = await connection.ask("policy/show", domain === undefined ? {} : { domain });
        await print(io.stdout, shared.json() ? renderJson(answer) : renderPolicy(answer));
        return EXIT.ok;
      }),
    );

  policy
    .command("list")
    .description("the MTA-STS policies that are kept, by domain")
    .option("--limit <n>", "how many", parseLimit, 100)
    .option("--after <domain>", "go on after this one")
    .addHelpText("after", EXAMPLES)
    .action((options: { limit: number; after?: string }) =>
      shared.withConnection("either", async (connection) => {
        const answer = await connection.ask("policy/list", options);
        await print(io.stdout, shared.json() ? renderJson(answer) : renderPolicies(answer));
        return EXIT.ok;
      }),
    );

  policy
    .command("refresh <domain>")
    .description("fetch a domain's MTA-STS policy now; one that is kept stays if that fails. Exits 1 if it failed")
    .addHelpText("after", EXAMPLES)
    .action((domain: string) =>
      shared.withConnection("either", async (connection) => {
        const answer = await connection.ask("policy/refresh", { domain });
        await print(io.stdout, shared.json() ? renderJson(answer) : renderRefresh(answer));
        const { record } = answer;
        const unread = record.kind === "failed" || (record.kind === "none" && record.reason !== "absent");
        const failed = unread || answer.fetch?.ok === false || answer.finding.kind === "unavailable";
        return failed ? EXIT.no : EXIT.ok;
      }),
    );
}
