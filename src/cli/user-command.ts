/** `postern user add|ls|rm|hash`: who may submit with a login. Only hashes leave this process. */
import { randomBytes } from "node:crypto";
import type { Command } from "commander";
import { readPassword } from "./ask.ts";
import { CliFailure, EXIT, print } from "./io.ts";
import type { Shared } from "./shared.ts";
import { describeTime, renderJson, renderTable, shown } from "./words.ts";

export function registerUserCommands(program: Command, shared: Shared): void {
  const { io } = shared;
  const user = program.command("user").description("users who may submit after a login");

  user
    .command("add <name>")
    .description("add a user or give one a new password; read from the terminal or standard input")
    .option(
      "--send-as <sender...>",
      "addresses, @domain or @.domain (with subdomains) the user may send as; without it, any allowed sender domain",
    )
    .option("--generate", "make a password and print it")
    .action((name: string, options: { sendAs?: string[]; generate?: true }) =>
      shared.withConnection("create", async (connection) => {
        if (/\p{Cc}/u.test(name)) throw new CliFailure(EXIT.usage, "a user's name has no control characters");
        const password = options.generate === true ? randomBytes(18).toString("base64url") : await readPassword(io);
        const { replaced } = await connection.ask("users/save", {
          name,
          passwordHash: await shared.hashPassword(password),
          maySendAs: options.sendAs ?? [],
        });
        const shownPassword = options.generate === true ? { password } : {};
        if (shared.json()) await print(io.stdout, renderJson({ name, replaced, ...shownPassword }));
        else
          await print(
            io.stdout,
            `${replaced ? "Changed" : "Added"} ${shown(name)}.${options.generate === true ? ` Password: ${password}` : ""}\n`,
          );
        return EXIT.ok;
      }),
    );

  user
    .command("ls")
    .description("list users of the database; those of the configuration: postern config show")
    .action(() =>
      shared.withConnection("either", async (connection) => {
        const answer = await connection.ask("users/list", {});
        if (shared.json()) await print(io.stdout, renderJson(answer));
        else if (answer.users.length === 0) await print(io.stdout, "No users. Add one: postern user add NAME\n");
        else {
          const rows = answer.users.map((one) => [
            shown(one.name),
            one.maySendAs.length === 0 ? "any allowed sender domain" : one.maySendAs.map((sender) => shown(sender)).join(", "),
            `${describeTime(one.createdAt)} UTC`,
          ]);
          await print(io.stdout, renderTable([{ title: "NAME" }, { title: "MAY SEND AS", wrap: 60 }, { title: "SINCE" }], rows));
        }
        return EXIT.ok;
      }),
    );

  user
    .command("rm <name>")
    .description("remove a user; logins end at once")
    .action((name: string) =>
      shared.withConnection("either", async (connection) => {
        const { removed } = await connection.ask("users/remove", { name });
        if (shared.json()) await print(io.stdout, renderJson({ name, removed }));
        else if (removed) await print(io.stdout, `Removed ${shown(name)}.\n`);
        if (!removed) throw new CliFailure(EXIT.no, `no user ${JSON.stringify(name)} in the database`);
        return EXIT.ok;
      }),
    );

  user
    .command("hash")
    .description("print the hash of a password, for users: in the configuration")
    .action(() =>
      shared.run(async () => {
        const hash = await shared.hashPassword(await readPassword(io));
        await print(io.stdout, shared.json() ? renderJson({ hash }) : `${hash}\n`);
        return EXIT.ok;
      }),
    );
}
