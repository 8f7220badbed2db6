/** What `postern serve` tells a person at its start: where it listens, where its data is, what to try next. Pure. */
import type { PosternEvent } from "../events.ts";
import { renderTable, shown } from "./words.ts";

type Started = Extract<PosternEvent, { kind: "started" }>;

export interface StartHints {
  /** With it STARTTLS is offered. */
  readonly hasCertificate: boolean;
  /** How the command is called where the relay was started: `postern`, or `npx postern` in a clone, with the same --config or --data. */
  readonly command: string;
}

export function renderStart(event: Started, { hasCertificate, command }: StartHints): string {
  const lines = [`Postern ${event.version} relays mail. Data in ${shown(event.dataFolder)}`];
  if (event.listeners.length === 0) lines.push("It listens nowhere: no listener is configured, or none has the certificate it needs.");
  else {
    const rows = event.listeners.map((at) => [
      at.name,
      `${at.address.includes(":") ? `[${at.address}]` : at.address}:${at.port}`,
      at.tls === "starttls" && !hasCertificate ? "none, for want of a certificate" : (TLS_WORDS[at.tls] ?? at.tls),
    ]);
    lines.push(renderTable([{ title: "LISTENER" }, { title: "ADDRESS" }, { title: "TLS" }], rows).trimEnd());
  }
  lines.push(`Try it:  ${command} send --from you@example.com --to someone@example.org --subject Hello --body 'It works'`);
  lines.push(`Then:    ${["queue summary", "queue ls", "queue why ID"].map((verb) => `${command} ${verb}`).join("   |   ")}`);
  return `${lines.join("\n")}\n`;
}

const TLS_WORDS: Readonly<Record<string, string>> = {
  off: "none",
  starttls: "STARTTLS",
  require: "STARTTLS demanded",
  implicit: "from the first octet",
};
