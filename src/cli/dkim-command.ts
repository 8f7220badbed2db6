/** `postern dkim list|dns|rotate|check`: the keys that sign mail, and what they need in DNS (RFC 6376). */
import type { Command } from "commander";
import { countWaiting, renderKeys, renderRecords, renderRotation } from "./dkim-text.ts";
import { EXIT, print } from "./io.ts";
import type { Shared } from "./shared.ts";
import { renderJson } from "./words.ts";

const EXAMPLES = `
Examples:
  postern dkim list                  keys and their states
  postern dkim dns                   what to publish, as lines of a zone file
  postern dkim dns example.com       of one domain
  postern dkim check                 look at DNS now; exits 1 while a key waits
  postern dkim rotate example.com    make new keys; the old ones sign until the new ones are published`;

export function registerDkimCommands(program: Command, shared: Shared): void {
  const { io } = shared;
  const dkim = program
    .command("dkim")
    .description("the keys that sign mail, and their records in DNS (RFC 6376)")
    .addHelpText("after", EXAMPLES);
  const verb = (usage: string, description: string): Command => dkim.command(usage).description(description).addHelpText("after", EXAMPLES);

  verb("list", "keys, their states, and what DNS showed when it was last looked at").action(() =>
    shared.withConnection("either", async (connection) => {
      const answer = await connection.ask("dkim/list", {});
      await print(io.stdout, shared.json() ? renderJson(answer) : renderKeys(answer, connection));
      return EXIT.ok;
    }),
  );

  verb("dns [domain]", "what to publish, as lines of a zone file").action((domain: string | undefined) =>
    shared.withConnection("either", async (connection) => {
      const answer = await connection.ask("dkim/dns", domain === undefined ? {} : { domain });
      await print(io.stdout, shared.json() ? renderJson(answer) : renderRecords(answer));
      return answer.records.length === 0 ? EXIT.no : EXIT.ok;
    }),
  );

  verb("rotate <domain>", "make new keys for a domain; the old ones go on signing until the new records are seen").action(
    (domain: string) =>
      shared.withConnection("relay", async (connection) => {
        const answer = await connection.ask("dkim/rotate", { domain });
        await print(io.stdout, shared.json() ? renderJson(answer) : renderRotation(answer));
        return EXIT.ok;
      }),
  );

  verb("check", "look at the records in DNS now. Exits 1 while a key waits for its record").action(() =>
    shared.withConnection("relay", async (connection) => {
      const answer = await connection.ask("dkim/check", {});
      await print(io.stdout, shared.json() ? renderJson(answer) : renderKeys(answer, connection));
      return countWaiting(answer.keys) === 0 ? EXIT.ok : EXIT.no;
    }),
  );
}
