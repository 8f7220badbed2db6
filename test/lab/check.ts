/**
 * `postern check` beside delivery: both share their code, so for every domain of the table they must say the same. Asked at
 * the control socket, where the command asks; what was delivered in, differences out.
 */
import { request } from "node:http";
import { join } from "node:path";
import type { CheckStage, CheckVerdict } from "../../src/queue/check.ts";
import type { Relay } from "../support/relay.ts";
import { channelOf, type Outcome } from "./judge.ts";
import type { RelayName } from "./relays.ts";
import type { Site } from "./site.ts";

/** A request to the relay's control socket. A command of its own for each message would take longer than all the rest. */
export function askRelay(relay: Relay, verb: string, body: unknown): Promise<string> {
  return new Promise((done) => {
    const call = request({ socketPath: join(relay.dataFolder, "postern.sock"), path: `/${verb}`, method: "POST" }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("end", () => done(text));
      response.on("error", (error) => done(String(error)));
    });
    call.on("error", (error) => done(String(error)));
    call.setHeader("content-type", "application/json").end(JSON.stringify(body));
  });
}

export type Checked = CheckVerdict | { readonly stage: "none"; readonly text: string };

export async function checkSite(relay: Relay, site: Site): Promise<Checked> {
  const tag = site.message.requireTls === true ? "required" : isOptional(site) ? "optional" : undefined;
  const text = await askRelay(relay, "check", { destination: site.recipient, ...(tag !== undefined && { tag }) });
  for (const line of text.split("\n").reverse()) {
    try {
      const stage = JSON.parse(line) as CheckStage;
      if (stage.stage === "verdict") return stage;
    } catch {
      // half a line: told below
    }
  }
  return { stage: "none", text: text.slice(-300) };
}

function isOptional({ message }: Site): boolean {
  return message.header?.some((line) => /^TLS-Required:\s*No$/i.test(line)) === true;
}

/**
 * Where check cannot know what delivery meets: a host's reply to the envelope, which check does not say; and what the
 * operator grants to one submitter (`tls.honourTlsOptional`), since check asks as nobody in particular.
 */
export function isCheckable({ settled }: Outcome, site: Site, relay: RelayName): boolean {
  return settled !== undefined && site.mayHear.size === 0 && !(relay === "honouring" && isOptional(site));
}

export function compareCheck(checked: Checked, { settled }: Outcome): string[] {
  if (settled === undefined) return [];
  if (checked.stage === "none") return [`check gave no verdict: ${checked.text}`];
  const { kind, problem, through, final = false } = checked;
  const said =
    kind === "deliverable"
      ? `deliverable ${through?.level ?? ""} through ${through?.host ?? "?"}`
      : `${kind} ${problem?.type ?? ""}${final ? ", for good" : ""}`;
  const outcome = String(settled["outcome"]);
  if (outcome === "delivered") {
    const host = String(settled["relay"]).replace(/\[[^\]]*\]:\d+$/, "");
    const level = channelOf(settled);
    return kind === "deliverable" && through?.level === level && (host === "" || through?.host === host)
      ? []
      : [`delivered ${level} to ${host}, but check says: ${said}`];
  }
  const agrees = kind !== "deliverable" && problem?.type === settled["reason"] && final === (outcome === "bounced");
  return agrees ? [] : [`${outcome} ${String(settled["reason"])}, but check says: ${said}`];
}
