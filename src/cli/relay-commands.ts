/** `postern serve|reload|healthcheck|version`: the relay as a whole. */
import type { Command } from "commander";
import type { ShownResolvers } from "../admin/handlers.ts";
import { messageOf } from "../thrown.ts";
import { countWaiting } from "./dkim-text.ts";
import { EXIT, print } from "./io.ts";
import type { Shared } from "./shared.ts";
import { describeSummary } from "./tlsrpt-text.ts";
import { describeListenerTls, describeTime, plural, renderJson, shown } from "./words.ts";

export function registerRelayCommands(program: Command, shared: Shared, version: string): void {
  const { io } = shared;

  program
    .command("serve")
    .description("run the relay until SIGTERM or SIGINT; SIGHUP rereads the configuration")
    .action(() => shared.run(() => shared.serve()));

  program
    .command("reload")
    .description("let the running relay reread its configuration; a faulty one is refused and the old one stays")
    .action(() =>
      shared.withConnection("relay", async (connection) => {
        const result = await connection.ask("reload", {});
        if (shared.json()) await print(io.stdout, renderJson(result));
        else if (result.ok) await print(io.stdout, describeReload(result.changed, result.needsRestart ?? []));
        else await print(io.stderr, `${result.errors.map((error) => shown(error)).join("\n")}\nThe old configuration stays.\n`);
        return result.ok ? EXIT.ok : EXIT.config;
      }),
    );

  program
    .command("status")
    .description("which relay runs, since when, where it listens, what its resolvers are worth, and how TLS reports and DKIM keys stand")
    .action(() =>
      shared.withConnection("relay", async (connection) => {
        const [status, tlsReports, { keys }] = await Promise.all([
          connection.ask("status", {}),
          connection.ask("tlsrpt/summary", {}),
          connection.ask("dkim/list", {}),
        ]);
        const answer = { ...status, tlsReports, dkim: { keys: keys.length, waiting: countWaiting(keys) } };
        const { relay, dnssec, resolvers, dkim } = answer;
        if (shared.json()) await print(io.stdout, renderJson(answer));
        else if (relay !== undefined) {
          const lines = [
            `Postern ${shown(relay.version)}, process ${relay.pid}, since ${describeTime(relay.startedAt)} UTC${relay.draining ? ", stopping" : ""}; data in ${shown(relay.dataFolder)}`,
            ...relay.listeners.map(
              (at) =>
                `${shown(at.name).padEnd(12)} ${at.open ? "" : "NOT OPEN "}${shown(at.address)}:${at.port}   tls ${describeListenerTls(at)}, login ${shown(at.login)}`,
            ),
          ];
          if (dnssec !== undefined)
            lines.push(`${"DNSSEC".padEnd(12)} ${dnssec.kind} since ${describeTime(dnssec.since)} UTC: ${shown(dnssec.detail)}`);
          if (resolvers !== undefined) lines.push(...describeResolvers(resolvers));
          lines.push(`${"TLS reports".padEnd(12)} ${describeSummary(tlsReports)}`);
          if (dkim.waiting > 0)
            lines.push(
              `${"DKIM".padEnd(12)} ${dkim.waiting} of ${plural(dkim.keys, "key")} not in use, for want of a record in DNS: postern dkim dns`,
            );
          await print(io.stdout, `${lines.join("\n")}\n`);
        }
        return answer.running ? EXIT.ok : EXIT.no;
      }),
    );

  program
    .command("healthcheck")
    .description("0 if the relay takes mail: it answers, its listeners are open, the database takes writes, its own resolver runs; else 1")
    .action(() =>
      shared.run(async () => {
        let health: { readonly healthy: boolean; readonly text: string };
        try {
          health = await askHealth(shared);
        } catch (error) {
          health = { healthy: false, text: messageOf(error) };
        }
        if (shared.json()) await print(io.stdout, renderJson(health));
        else await print(health.healthy ? io.stdout : io.stderr, `${shown(health.text)}\n`);
        return health.healthy ? EXIT.ok : EXIT.no;
      }),
    );

  program
    .command("version")
    .description("print the version")
    .action(() =>
      shared.run(async () => {
        await print(
          io.stdout,
          shared.json()
            ? renderJson({ postern: version, node: process.versions.node, openssl: process.versions.openssl })
            : `postern ${version} (Node ${process.versions.node}, OpenSSL ${process.versions.openssl})\n`,
        );
        return EXIT.ok;
      }),
    );
}

function describeReload(changed: readonly string[], needsRestart: readonly string[]): string {
  const list = (names: readonly string[]): string => names.map((name) => shown(name)).join(", ");
  if (changed.length === 0) return "Nothing has changed.\n";
  return `Changed: ${list(changed)}\n${needsRestart.length === 0 ? "" : `At the next start only: ${list(needsRestart)}\n`}`;
}

/** One line each: whose word on DNSSEC counts, and since which test. */
function describeResolvers({ servers, pid }: ShownResolvers): string[] {
  return servers.map(({ name, trusted, belief, detail, testedAt }) => {
    const process = pid !== undefined && name.startsWith("managed") ? `, process ${pid}` : "";
    const tested = testedAt === undefined ? "" : `, tested ${describeTime(testedAt)} UTC`;
    const worth = trusted ? `${belief ?? "untested"}${tested}: ` : "";
    return `${"resolver".padEnd(12)} ${shown(name)}${process}   ${worth}${shown(detail)}`;
  });
}

async function askHealth(shared: Shared): Promise<{ readonly healthy: boolean; readonly text: string }> {
  let health: { readonly healthy: boolean; readonly text: string } | undefined;
  await shared.withConnection("relay", async (connection) => {
    health = await connection.ask("health", {});
    return EXIT.ok;
  });
  return health ?? { healthy: false, text: "no answer" };
}
