/**
 * `postern serve`: starts the relay, obeys signals, and ends the process. SIGTERM and SIGINT drain, a second one cuts
 * short; SIGHUP rereads the configuration.
 */
import { systemClock } from "./clock.ts";
import type { Settings } from "./config/settings.ts";
import type { EmitEvent } from "./events.ts";
import { type Relay, type RelayIo, startRelay } from "./relay.ts";
import { errorOf } from "./thrown.ts";

export interface ServeOptions {
  readonly version: string;
  readonly settings: Settings;
  /** What reading the configuration had to say. */
  readonly notes: readonly string[];
  readonly reread: RelayIo["reread"];
  readonly emit: EmitEvent;
  /** Writes out what the log still holds. */
  flushLog(): void;
}

/** How long what is under way may take after SIGTERM: shorter than the ten seconds that container runtimes wait. */
const GRACE = 8000;

/** Resolves with the exit code when the relay has stopped. */
export async function runRelay(options: ServeOptions): Promise<number> {
  const { emit } = options;
  const crash = (error: unknown): void => {
    // Our own broken promise. What was acknowledged is on disk, so a restart is the cure; going on is not.
    emit({ kind: "fault", where: "process", error: errorOf(error) });
    options.flushLog();
    process.exit(70);
  };
  process.on("uncaughtException", crash);
  process.on("unhandledRejection", crash);

  for (const text of options.notes) emit({ kind: "notice", level: "info", text });
  // Without a handler the signal would end a process that is still starting.
  let reloadWanted = false;
  let reload = (): void => {
    reloadWanted = true;
  };
  process.on("SIGHUP", () => reload());
  let relay: Relay;
  try {
    relay = await startRelay(options.settings, {
      version: options.version,
      clock: systemClock,
      random: Math.random,
      emit,
      died: crash,
      reread: options.reread,
    });
  } catch (error) {
    emit({ kind: "fault", where: "start", error: errorOf(error) });
    options.flushLog();
    return 69;
  }

  reload = () => void relay.reload();
  if (reloadWanted) reload();

  // Keeps the process alive while nothing but unreferenced timers is about.
  const alive = setInterval(() => {}, 1 << 30);
  const reason = await new Promise<string>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve(signal));
  });
  emit({ kind: "stopping", reason });
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      options.flushLog();
      process.exit(75);
    });
  }
  const leftInFlight = await relay.stop(GRACE);
  emit({ kind: "stopped", leftInFlight });
  clearInterval(alive);
  options.flushLog();
  return 0;
}
