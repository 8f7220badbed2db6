/**
 * Log lines from events: one JSON object a line for machines, or a Postfix-shaped line for people, who know how to read
 * `status=deferred (…)`. Wording is pure; `openLog` writes. Called for every message, so no line costs more than it must.
 */
import { pino } from "pino";
import type { Settings } from "../config/settings.ts";
import type { EmitEvent, PosternEvent } from "../events.ts";
import { describeListenerTls, describeMinute } from "./words.ts";

export type LogLevel = Settings["log"]["level"];

const SEVERITY: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

export function levelOf(event: PosternEvent): LogLevel {
  switch (event.kind) {
    case "started":
    case "reloaded":
    case "stopping":
    case "stopped":
    case "message-accepted":
    case "recipient-settled":
    case "notice-enqueued":
    case "login-succeeded":
    case "destination-up":
    case "storage-recovered":
    case "resolver-started":
    case "tls-report-sent":
      return "info";
    case "dkim-key":
      return event.state === "waiting-for-dns" ? "warn" : "info";
    case "dnssec-state":
      return event.state === "blind" || event.state === "untrusted" ? "warn" : "info";
    case "notice":
      return event.level;
    case "policy-changed":
      // A domain that asks for less than before is what an attacker would want, and what its owner may want.
      return event.from?.mode === "enforce" && event.to.mode !== "enforce" ? "warn" : "info";
    case "reload-refused":
    case "client-refused":
    case "login-failed":
    case "command-rejected":
    case "notice-suppressed":
    case "destination-down":
    case "policy-refresh-failed":
    case "resolver-died":
    case "tls-failure-seen":
    case "tls-report-failed":
      return "warn";
    case "dkim-failed":
    case "fault":
    case "storage-trouble":
      return "error";
  }
}

/** `jo@example.org` becomes `*@example.org`: the domain is what an operator needs. */
export function maskAddress(address: string): string {
  const at = address.lastIndexOf("@");
  return at <= 0 ? address : `*${address.slice(at)}`;
}

// Both forms of a local part, wherever an address stands in a stranger's sentence.
const ADDRESS_IN_TEXT = /(?:"(?:[^"\\]|\\.)*"|[^\s<>()[\]{}"',;:=@]+)@(?=[\p{L}\p{N}[])/gu;

export function maskText(text: string): string {
  return text.includes("@") ? text.replace(ADDRESS_IN_TEXT, "*@") : text;
}

/** The event with every local part masked. The Message-ID stays: it names no person. */
export function anonymise(event: PosternEvent): PosternEvent {
  switch (event.kind) {
    case "message-accepted":
      return { ...event, sender: maskAddress(event.sender), ...(event.user !== undefined && { user: maskAddress(event.user) }) };
    case "recipient-settled":
      return { ...event, recipient: maskAddress(event.recipient), text: maskText(event.text) };
    case "command-rejected":
      return {
        ...event,
        argument: maskText(event.argument),
        reply: maskText(event.reply),
        ...(event.user !== undefined && { user: maskAddress(event.user) }),
      };
    case "login-succeeded":
    case "login-failed":
      return { ...event, user: maskAddress(event.user) };
    case "client-refused":
    case "destination-down":
    case "policy-refresh-failed":
      return { ...event, detail: maskText(event.detail) };
    case "notice-enqueued":
      return { ...event, to: maskAddress(event.to) };
    case "notice-suppressed":
      return { ...event, why: maskText(event.why) };
    default:
      return event;
  }
}

const STATUS = { delivered: "sent", deferred: "deferred", bounced: "bounced", expired: "expired" } as const;

/** The line for people, without time and line end. */
export function plainLine(event: PosternEvent): string {
  switch (event.kind) {
    case "recipient-settled": {
      const [a, b, c, d] = event.delays;
      const reason = event.reason === undefined ? "" : `${event.reason}: `;
      const who = event.whoActs === undefined || event.outcome === "delivered" ? "" : `; who acts: ${event.whoActs}`;
      const next = event.nextAttempt === undefined ? "" : `; next ${timeOfDay(event.nextAttempt)}`;
      const tls = event.tls === undefined ? "" : ` [${event.tls}]`;
      const published = event.published === undefined ? "" : ` [${event.published}]`;
      return `${event.id}: to=<${event.recipient}>, relay=${event.relay}, delay=${seconds(event.delay)}, delays=${seconds(a)}/${seconds(b)}/${seconds(c)}/${seconds(d)}, dsn=${event.status}, status=${STATUS[event.outcome]} (${reason}${event.text}${who}${next})${tls}${published}`;
    }
    case "message-accepted": {
      const user = event.user === undefined ? "" : `, sasl_username=${event.user}`;
      const messageId = event.messageId === undefined ? "" : `, message-id=${event.messageId}`;
      const tls = event.tls === undefined ? "" : ` [${event.tls}]`;
      return `${event.id}: client=${event.client}, from=<${event.sender}>, size=${event.size}, nrcpt=${event.recipients}, listener=${event.listener}${user}${messageId}${tls}`;
    }
    case "command-rejected": {
      const user = event.user === undefined ? "" : `, sasl_username=${event.user}`;
      return `NOQUEUE: reject: ${event.command} from ${event.client}: ${event.reply}; ${event.argument}, listener=${event.listener}${user}`;
    }
    case "client-refused":
      return `NOQUEUE: reject: CONNECT from ${event.client}: ${event.reason}: ${event.detail}, listener=${event.listener}`;
    case "login-succeeded":
      return `login: client=${event.client}, sasl_username=${event.user}, listener=${event.listener}`;
    case "login-failed": {
      const ban = event.bannedUntil === undefined ? "" : `; banned until ${timeOfDay(event.bannedUntil)}`;
      // The words that fail2ban's postfix filters look for.
      return `warning: ${event.client}: SASL login authentication failed, sasl_username=${event.user}, failures=${event.failures}, listener=${event.listener}${ban}`;
    }
    case "notice-enqueued":
      return `${event.id}: notice (${event.action}) to=<${event.to}> about ${event.about}`;
    case "notice-suppressed":
      return `${event.about}: no notice: ${event.why}`;
    case "destination-down":
      return `warning: ${event.nextHop} is left alone until ${timeOfDay(event.until)}: ${event.reason}: ${event.detail}${event.postponed === 0 ? "" : `; ${event.postponed} more ${event.postponed === 1 ? "waits" : "wait"} with it`}`;
    case "destination-up":
      return `${event.nextHop} answers again`;
    case "policy-changed": {
      const { from, to } = event;
      const before = from === undefined ? "" : `, before it was ${from.mode}, id ${from.id}`;
      return `${levelOf(event) === "warn" ? "warning: " : ""}MTA-STS policy of ${event.policyDomain}: mode ${to.mode}, id ${to.id}${before}`;
    }
    case "policy-refresh-failed":
      return `warning: MTA-STS policy of ${event.policyDomain} could not be fetched again (${times(event.failures)}): ${event.reason}: ${event.detail}; mode ${event.mode} is kept until ${describeMinute(event.expires)}`;
    case "started":
      return `started: Postern ${event.version}, listening on ${event.listeners.map((at) => `${at.name} ${at.address}:${at.port} (tls ${describeListenerTls(at)})`).join(", ") || "nothing"}, data in ${event.dataFolder}`;
    case "dnssec-state":
      return `${event.state === "blind" || event.state === "untrusted" ? "warning: " : ""}DNSSEC ${event.state}: ${event.detail}`;
    case "resolver-started":
      return `resolver: unbound[${event.pid}] answers at ${event.address} and asks ${event.forwarders.length === 0 ? "the root servers" : event.forwarders.join(", ")}`;
    case "resolver-died":
      return `warning: resolver: ${event.detail}; it is started again in ${seconds(event.againIn)} s`;
    case "tls-failure-seen":
      return `warning: TLS ${event.resultType}${event.reasonCode === undefined ? "" : ` (${event.reasonCode})`} of ${event.reportDomain}${event.host === undefined ? "" : ` at ${event.host}`}, the first today; policy ${event.policyType}`;
    case "tls-report-sent":
      return `TLS report ${event.reportId} of ${event.day} for ${event.reportDomain} was taken: ${event.to}`;
    case "tls-report-failed":
      return `warning: TLS report of ${event.day} for ${event.reportDomain}${event.final ? " is given up" : ""}: ${event.detail}`;
    case "dkim-key":
      return `${levelOf(event) === "warn" ? "warning: " : ""}DKIM ${event.selector}._domainkey.${event.domain} ${event.state}: ${event.detail}`;
    case "dkim-failed":
      return `error: DKIM of ${event.domain}: ${event.detail}; its mail waits, and is not sent unsigned`;
    case "notice":
      return event.level === "warn" ? `warning: ${event.text}` : event.text;
    case "reloaded":
      return `reloaded: ${event.changed.length === 0 ? "nothing has changed" : event.changed.join(", ")}`;
    case "reload-refused":
      return `warning: the new configuration is refused and the old one stays: ${event.errors.join("; ")}`;
    case "stopping":
      return `stopping: ${event.reason}`;
    case "stopped":
      return event.leftInFlight === 0
        ? "stopped"
        : `stopped with ${event.leftInFlight} attempts under way; they are made again at the next start`;
    case "fault":
      return `error: ${event.where}: ${faultText(event.error)}${frameOf(event.where, event.error)}`;
    case "storage-trouble":
      return `error: storage ${event.what}: ${event.detail}`;
    case "storage-recovered":
      return "storage takes writes again";
  }
}

/** An error with its causes, on one line: a stack trace would break the one-line rule, JSON has it. */
function faultText(error: Error): string {
  const parts = [error.message];
  for (let cause = error.cause; cause instanceof Error && parts.length < 5; cause = cause.cause) parts.push(cause.message);
  return parts.join(": ").replaceAll("\n", " / ");
}

/** Where in the program it was thrown. A start that is refused in a sentence of ours is no fault of the program. */
function frameOf(where: string, error: Error): string {
  const frame = /\n\s+at (.*)/.exec(error.stack ?? "")?.[1];
  return frame === undefined || (where === "start" && error.name === "Error") ? "" : ` (at ${frame})`;
}

/** Postfix's seconds: at most two decimals, none from 10 s on. */
function seconds(ms: number): number {
  return ms >= 10_000 ? Math.round(ms / 1000) : Math.round(ms / 10) / 100;
}

function times(count: number): string {
  return count === 1 ? "once" : `${count} times`;
}

function timeOfDay(time: number): string {
  return new Date(time).toISOString().slice(11, 19);
}

/** The event as JSON's fields: `kind` is called `event`, times are ISO, errors are text. */
export function jsonFields(event: PosternEvent): object {
  switch (event.kind) {
    case "recipient-settled": {
      const { kind, nextAttempt, ...rest } = event;
      return nextAttempt === undefined
        ? { event: kind, ...rest }
        : { event: kind, ...rest, nextAttempt: new Date(nextAttempt).toISOString() };
    }
    case "destination-down": {
      const { kind, until, ...rest } = event;
      return { event: kind, ...rest, until: new Date(until).toISOString() };
    }
    case "policy-refresh-failed": {
      const { kind, expires, ...rest } = event;
      return { event: kind, ...rest, expires: new Date(expires).toISOString() };
    }
    case "login-failed": {
      const { kind, bannedUntil, ...rest } = event;
      return bannedUntil === undefined
        ? { event: kind, ...rest }
        : { event: kind, ...rest, bannedUntil: new Date(bannedUntil).toISOString() };
    }
    case "fault":
      return { event: event.kind, where: event.where, error: faultText(event.error), stack: event.error.stack };
    case "notice": {
      const { kind, text } = event;
      return { event: kind, text };
    }
    default: {
      const { kind, ...rest } = event;
      return { event: kind, ...rest };
    }
  }
}

export interface Log {
  readonly emit: EmitEvent;
  /** Another level, format or masking holds for what comes next. */
  configure(settings: Settings["log"]): void;
  /** Writes what is buffered, at once and blocking: for the last moment of the process. */
  flush(): void;
  /** Flushes and stops the timer. The file stays open: it is usually standard output. */
  close(): void;
}

export interface LogOutput {
  /** A file descriptor, or a path to append to. */
  readonly to: number | string;
  readonly isTerminal: boolean;
  now(): number;
}

/**
 * Lines gather to so many characters, or so many ms, before a write: a syscall a line would cost more than the line. They gather
 * here, since the destination would measure all that has gathered again with each line.
 */
const GATHER = 32 * 1024;
const GATHER_MS = 50;
/** A fault like one before is told so often, and so many different ones are remembered. */
const REPEAT_MS = 60_000;
const REPEATS_KEPT = 100;
/** A reader that stalls must not take our memory: beyond this, lines are dropped. */
const BACKLOG_LIMIT = 32 * 1024 ** 2;

export function openLog(settings: Settings["log"], output: LogOutput): Log {
  // It writes when it is told to, and not with each piece: what is still with it at the end can be written at once (`flushSync`).
  const held = { minLength: 4 * GATHER, maxWrite: 5 * GATHER, maxLength: BACKLOG_LIMIT };
  const destination = pino.destination({ dest: output.to, sync: false, append: true, ...held });
  const time = stamper(output.now);
  let gathered = "";
  let state: "opening" | "idle" | "writing" = "opening";
  const handOver = (): void => {
    if (gathered !== "") destination.write(gathered);
    gathered = "";
  };
  const send = (): void => {
    if (gathered === "" || state !== "idle") return;
    handOver();
    state = "writing";
    destination.flush();
  };
  const rest = (): void => {
    state = "idle";
    if (gathered.length >= GATHER) send();
  };
  destination.on("ready", rest).on("drain", rest);
  // A log that nobody reads any more (EPIPE) is no reason to stop relaying.
  destination.on("error", rest);
  const add = (line: string): void => {
    gathered += line;
    if (gathered.length < GATHER) return;
    send();
    // A reader that stalls: from here on the destination holds it, and drops what is too much.
    if (gathered.length >= 4 * GATHER) handOver();
  };
  let least = 0;
  let write: (event: PosternEvent, level: LogLevel, missed: number) => void = () => {};
  const configure = ({ level: lowest, format, anonymise: masks }: Settings["log"]): void => {
    least = SEVERITY[lowest];
    const shown = masks ? anonymise : (event: PosternEvent): PosternEvent => event;
    if (format === "plain" || (format === "auto" && output.isTerminal)) {
      write = (event, _level, missed) => {
        add(`${time()} ${plainLine(shown(event))}${missed === 0 ? "" : `; ${missed} times more since this was last told`}\n`);
      };
    } else {
      write = (event, level, missed) => {
        const fields = JSON.stringify(jsonFields(shown(event)));
        const repeated = missed === 0 ? "}" : `,"missed":${missed}}`;
        add(`{"level":"${level}","time":"${time()}",${fields.slice(1, -1)}${repeated}\n`);
      };
    }
  };
  configure(settings);
  const repeats = new Repeats(output.now);
  const timer = setInterval(send, GATHER_MS);
  timer.unref();
  const flush = (): void => {
    handOver();
    try {
      destination.flushSync();
    } catch {
      // Not open yet, or closed by its reader: there is nobody to write to.
    }
  };
  return {
    emit(event) {
      const level = levelOf(event);
      if (SEVERITY[level] < least) return;
      const missed = event.kind === "fault" ? repeats.missed(event) : 0;
      if (missed === undefined) return;
      write(event, level, missed);
    },
    configure,
    flush,
    close() {
      clearInterval(timer);
      flush();
    },
  };
}

/** The same fault again and again, each second while a database is broken, is one line a minute with a count. */
class Repeats {
  readonly #now: () => number;
  readonly #seen = new Map<string, { toldAt: number; missed: number }>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** How often it was kept back since it was last told; undefined if it is kept back now. */
  missed({ where, error }: Extract<PosternEvent, { kind: "fault" }>): number | undefined {
    const name = `${where}: ${error.message}`;
    const now = this.#now();
    const before = this.#seen.get(name);
    if (before !== undefined && now >= before.toldAt && now - before.toldAt < REPEAT_MS) {
      before.missed += 1;
      return undefined;
    }
    if (this.#seen.size >= REPEATS_KEPT) this.#seen.clear();
    this.#seen.set(name, { toldAt: now, missed: 0 });
    return before?.missed ?? 0;
  }
}

/** The time as ISO text; events come in bursts, so the last text is kept while its millisecond lasts. */
function stamper(now: () => number): () => string {
  let at = -1;
  let text = "";
  return () => {
    const time = now();
    if (time !== at) {
      at = time;
      text = new Date(time).toISOString();
    }
    return text;
  };
}
