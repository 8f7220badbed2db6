/**
 * What must be so of a day's reports: the document beside what hosts saw, the mail as a program of others reads it, its signature,
 * and what our own commands make of both.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Stage } from "../stage.ts";
import { tlsaFor } from "../world/certificates.ts";
import { type ReadMail, signaturesOf, verifyInLab } from "./mail.ts";
import { command, type Document, same, totalsOf } from "./reporting.ts";

/** What the receivers saw. */
export const sessionsAt = (stage: Stage, label: string): number =>
  stage.site(label).receivers.flatMap(({ connections }) => connections).length;

export function judgeFailing(stage: Stage, document: Document): void {
  const site = stage.site("failing");
  const sessions = sessionsAt(stage, "failing");
  stage.expect(`failing was met more than once (${sessions})`, sessions > 1);
  const [host] = site.hosts.values();
  const [entry, ...others] = document.policies;
  same(stage, "entries for failing", others, []);
  same(stage, "the policy of failing", entry?.policy, {
    "policy-type": "sts",
    "policy-string": ["version: STSv1", "mode: enforce", `mx: ${host?.name}`, "max_age: 604800"],
    "policy-domain": site.domain,
    "mx-host": [host?.name],
  });
  same(stage, "the summary of failing", entry?.summary, {
    "total-successful-session-count": 0,
    "total-failure-session-count": sessions,
  });
  same(stage, "the details of failing", entry?.["failure-details"], [
    {
      "result-type": "certificate-host-mismatch",
      "sending-mta-ip": site.receivers[0]?.connections[0]?.from,
      "receiving-mx-hostname": host?.name,
      "receiving-mx-helo": "mx.example.test",
      "receiving-ip": host?.address,
      "failed-session-count": sessions,
    },
  ]);
}

export function judgeDane(stage: Stage, document: Document): void {
  const site = stage.site("dane");
  const [host] = site.hosts.values();
  same(stage, "entries for dane", document.policies, [
    {
      policy: {
        "policy-type": "tlsa",
        "policy-string": [tlsaFor("3 1 1", site.io.certificates.dane.certificate)],
        "policy-domain": host?.name,
      },
      summary: { "total-successful-session-count": 2, "total-failure-session-count": 0 },
    },
  ]);
  same(stage, "sessions that dane's host saw", sessionsAt(stage, "dane"), 2);
}

/** RFC 8460 §5.3, §5.1, as Python read it. */
export function judgeMail(stage: Stage, mail: ReadMail, document: Document, day: string): void {
  const [submitter, domain] = [stage.site("sender").domain, stage.site("failing").domain];
  const id = document["report-id"];
  const one = (name: string): string | undefined => (mail.fields[name]?.length === 1 ? mail.fields[name][0] : undefined);
  same(stage, "defects of the mail", mail.defects, []);
  same(stage, "the mail's type", [mail.type, mail.reportType], ["multipart/report", "tlsrpt"]);
  same(
    stage,
    "the parts of the mail",
    mail.parts.map(({ type, disposition, encoding }) => [type, disposition, encoding]),
    [
      ["text/plain", null, "7bit"],
      ["application/tlsrpt+gzip", "attachment", "base64"],
    ],
  );
  const begin = Date.parse(`${day}T00:00:00Z`) / 1000;
  const pattern = new RegExp(`^${submitter}!${domain}!${begin}!${begin + 86_399}![A-Za-z0-9]+\\.json\\.gz$`);
  stage.expect(`the file name ${mail.parts[1]?.fileName} is as in §5.1`, pattern.test(mail.parts[1]?.fileName ?? ""));
  same(stage, "the subject", one("subject"), `Report Domain: ${domain} Submitter: ${submitter} Report-ID: <${id}>`);
  same(stage, "TLS-Report-Domain", one("tls-report-domain"), domain);
  same(stage, "TLS-Report-Submitter", one("tls-report-submitter"), submitter);
  same(stage, "From", one("from"), `tls@${submitter}`);
  same(stage, "To", one("to"), `reports@${stage.site("box").domain}`);
  same(stage, "TLS-Required", one("tls-required"), "No");
  same(stage, "Auto-Submitted", one("auto-submitted"), "auto-generated");
  same(stage, "fields that must be there once", [one("date"), one("message-id"), one("mime-version")].includes(undefined), false);
  same(stage, "contact-info", document["contact-info"], `tls@${submitter}`);
  same(stage, "the day", document["date-range"], { "start-datetime": `${day}T00:00:00Z`, "end-datetime": `${day}T23:59:59Z` });
}

export async function judgeSignature(stage: Stage, octets: Buffer): Promise<void> {
  const now = stage.clock.now();
  same(stage, "mailauth's verdict on the report", await verifyInLab(octets, now), ["ed25519-sha256 pass", "rsa-sha256 pass"]);
  for (const { domain, tags } of signaturesOf(octets)) {
    same(stage, "d= of the report", domain, stage.site("sender").domain);
    const signed = (tags["h"] ?? "").toLowerCase().split(/\s*:\s*/);
    for (const name of ["from", "tls-report-domain", "tls-report-submitter", "content-type"])
      stage.expect(`h= has ${name}`, signed.includes(name));
    stage.expect("no l=", tags["l"] === undefined);
  }
  const text = octets.toString("latin1");
  const changes: [what: string, changed: string][] = [
    ["another domain in TLS-Report-Domain", text.replace(/^TLS-Report-Domain: .*$/m, "TLS-Report-Domain: other.test")],
    ["a second Subject in front", text.replace(/^Subject: /m, "Subject: Report Domain: other.test\r\nSubject: ")],
    ["another octet in the attachment", text.replace("H4sIA", "H4sIB")],
  ];
  for (const [what, changed] of changes) {
    const verdicts = await verifyInLab(Buffer.from(changed, "latin1"), now);
    stage.expect(
      `control: with ${what} it does not verify: ${verdicts.join(", ")}`,
      changed !== text && verdicts.length === 2 && verdicts.every((verdict) => !verdict.includes(" pass")),
    );
  }
}

export async function judgeReadBack(stage: Stage, name: string, octets: Buffer, document: Document): Promise<void> {
  const file = join(stage.relay.folder, name);
  await writeFile(file, octets);
  const totals = Object.values(totalsOf(document));
  const text = await command(stage, ["tlsrpt", "read", file], 0, document["report-id"], "the whole day in UTC");
  for (const [successes, failures] of totals) {
    stage.expect(`${name}: ${successes} succeeded, in ${text.stdout}`, new RegExp(`succeeded +${successes}\\b`).test(text.stdout));
    stage.expect(`${name}: ${failures} failed, in ${text.stdout}`, new RegExp(`failed +${failures}\\b`).test(text.stdout));
  }
  const json = JSON.parse((await command(stage, ["tlsrpt", "read", file, "--json"], 0)).stdout) as {
    id: string;
    policies: { successes: number; failures: number }[];
  };
  same(stage, `${name}: the id`, json.id, document["report-id"]);
  same(
    stage,
    `${name}: totals`,
    json.policies.map(({ successes, failures }) => [successes, failures]),
    totals,
  );
}

/** What each command says to programs. */
export async function judgeJson(stage: Stage, over: string): Promise<void> {
  const dane = stage.site("dane").domain;
  const sender = stage.site("sender").domain;
  const states = (name: string): RegExp => new RegExp(`"${name}"[\\s\\S]*"state": ?"active"`);
  const asked: [args: string[], says: RegExp][] = [
    [["tlsrpt", "today", "--day", over], new RegExp(`"reportDomain": ?"${dane}"`)],
    [["tlsrpt", "list", "--day", over, "--state", "not-asked"], new RegExp(`"reportDomain": ?"${stage.site("unasked").domain}"`)],
    [["tlsrpt", "show", dane, over], /"state": ?"sent"/],
    [["tlsrpt", "preview", dane, "--day", over], /"kind": ?"destinations"/],
    [["dkim", "list"], states("postern1r")],
    [["dkim", "check"], states("postern1e")],
    [["dkim", "dns", sender], new RegExp(`"name": ?"postern1r._domainkey.${sender}"`)],
  ];
  for (const [args, says] of asked) {
    const { stdout } = await command(stage, [...args, "--json"], 0, says);
    JSON.parse(stdout);
  }
}
