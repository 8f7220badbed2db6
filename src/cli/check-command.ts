/** `postern check`: what would become of mail to a destination now, stage by stage, from the running relay or else from here. */
import type { Command } from "commander";
import { parseNextHop } from "../mail/domain.ts";
import type { CheckStart } from "../queue/check.ts";
import { CHECK_EXIT, CHECK_EXIT_HELP, exitCodeOf, renderSource, renderStage } from "./check-text.ts";
import { CliFailure, print } from "./io.ts";
import type { Shared } from "./shared.ts";
import { renderJsonLine } from "./words.ts";

interface CheckOptions {
  requiretls?: true;
  tlsOptional?: true;
  connect: boolean;
}

const EXAMPLES = `
Examples:
  postern check example.net                  every host, as delivery would meet it; nothing is sent
  postern check jo@example.net --requiretls  as a message with REQUIRETLS (RFC 8689)
  postern check example.net --no-connect     DNS and published policy only
  postern check example.net --json           one JSON value a line, as each stage is known`;

export function registerCheckCommand(program: Command, shared: Shared): void {
  const { io } = shared;
  program
    .command("check <destination>")
    .description("what would become of mail to a domain or an address now, and why; runs the delivery code up to where MAIL is said")
    .option("--requiretls", "as for a message with REQUIRETLS")
    .option("--tls-optional", "as for a message with TLS-Required: No")
    .option("--no-connect", "ask DNS and policy hosts only, dial no mail host")
    .addHelpText("after", EXAMPLES + CHECK_EXIT_HELP)
    // Scripts tell a wrong command line from a refusal: 2, as the other checkers have it.
    .exitOverride((error) => {
      if (error.exitCode !== 0) error.exitCode = CHECK_EXIT.usage;
      throw error;
    })
    .action((destination: string, options: CheckOptions) => {
      const nextHop = parseNextHop(destination.slice(destination.lastIndexOf("@") + 1));
      if (!nextHop.ok) throw new CliFailure(CHECK_EXIT.usage, nextHop.error);
      if (options.requiretls === true && options.tlsOptional === true)
        throw new CliFailure(CHECK_EXIT.usage, "--requiretls and --tls-optional exclude each other");
      const tag = options.requiretls === true ? "required" : options.tlsOptional === true ? "optional" : undefined;
      return shared.withConnection("probe", async (connection) => {
        let exitCode: number = CHECK_EXIT.no;
        let start: CheckStart | undefined;
        const asked = io.clock.now();
        const written: Promise<void>[] = [];
        await connection.check({ destination: nextHop.value, connect: options.connect, ...(tag !== undefined && { tag }) }, (line) => {
          if (line.stage === "destination") start = line;
          if (line.stage === "verdict") exitCode = exitCodeOf(line);
          written.push(print(io.stdout, shared.json() ? renderJsonLine(line) : renderStage(line, start?.at ?? asked, start)));
        });
        await Promise.all(written);
        if (!shared.json()) await print(io.stdout, renderSource(connection.running));
        return exitCode;
      });
    });
}
