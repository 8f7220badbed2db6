/** What is kept over time: policies after DNS and web servers died, repairs between attempts, resolvers that end or turn blind. */
import { readdirSync, readFileSync } from "node:fs";
import { waitUntil } from "../support/temp.ts";
import type { Story } from "./scenario.ts";
import type { Site } from "./site.ts";
import { FIXED } from "./world/addresses.ts";
import { tlsaFor } from "./world/certificates.ts";
import { servePolicy } from "./world/policy-hosts.ts";

const open = { tls: { floor: "opportunistic" } };
const wrongKey = `3 1 1 ${"ab".repeat(32)}`;

const policyFile = (mode: string, host: string) => `version: STSv1\nmode: ${mode}\nmx: ${host}\nmax_age: 604800\n`;
const mxName = (site: Site) => site.hosts.get("mx")?.name ?? "";

/** The host loses its STARTTLS: from then on only a policy keeps mail from going in clear. */
function strip(site: Site): void {
  for (const receiver of site.receivers) {
    receiver.behaviour = { startTlsKeyword: "" };
    // A connection that was proven before would still do.
    for (const { socket } of receiver.connections) socket.destroy();
  }
}

export const STORIES: readonly Story[] = [
  {
    name: "a kept policy is enforced after its TXT record and web server died, and after a restart",
    section: "RFC 8461 §3.3",
    settings: open,
    prepare(makeSite) {
      for (const label of ["kept", "never"]) {
        const site = makeSite(label);
        site.own({ signing: "none", ttl: 1, meddler: true });
        site.mx();
        if (label === "kept") site.sts();
      }
    },
    async run(stage) {
      const site = stage.site("kept");
      stage.delivered(await stage.send("kept"), "authenticated", "at first");
      for (const meddler of stage.world.meddlers.values()) {
        for (const type of ["TXT", "A"])
          meddler.set(type === "TXT" ? `_mta-sts.${site.domain}` : `mta-sts.${site.domain}`, type, "servfail");
      }
      for (const host of site.policyHosts) host.serve = (request) => request.socket.destroy();
      strip(site);
      strip(stage.site("never"));
      await stage.resolverSays(`_mta-sts.${site.domain}`, "TXT", "SERVFAIL");
      stage.deferred(await stage.send("kept"), "starttls-not-supported", "with everything dead");
      await stage.relay.restart();
      stage.deferred(await stage.send("kept"), "starttls-not-supported", "after a restart");
      stage.delivered(await stage.send("never"), "clear", "control: a domain that never had a policy");
      stage.expect(
        "nobody heard the envelope in clear",
        !site.receivers.some(({ heard }) => heard.some((line) => line.startsWith("clear MAIL"))),
      );
    },
  },
  {
    name: "a vanished TXT record does not end a policy; mode none under a new id does",
    section: "RFC 8461 §8.3",
    settings: open,
    prepare(makeSite) {
      const site = makeSite("a");
      site.own({ signing: "none", ttl: 1 });
      site.mx();
      site.sts({ id: "1" });
    },
    async run(stage) {
      const site = stage.site("a");
      const record = `_mta-sts.${site.domain}`;
      const host = site.policyHosts[0];
      stage.delivered(await stage.send("a"), "authenticated", "at first");
      strip(site);
      await stage.changeZone("a", record, "TXT", []);
      const first = await stage.send("a");
      stage.deferred(first, "starttls-not-supported", "the record is gone");
      if (host !== undefined) host.serve = servePolicy(policyFile("none", mxName(site)));
      await stage.changeZone("a", record, "TXT", ['"v=STSv1; id=1;"']);
      stage.deferred(await stage.retry(first.id), "starttls-not-supported", "the file changed, the id did not");
      await stage.changeZone("a", record, "TXT", ['"v=STSv1; id=2;"']);
      stage.delivered(await stage.retry(first.id), "clear", "mode none under a new id");
    },
  },
  {
    name: "before a message is given up, a newer policy is looked for, and applied",
    section: "RFC 8461 §5.1",
    settings: { ...open, delivery: { retry: { waits: ["2s"], longest: "2s", spread: 0, giveUpAfter: "9s", destinationDown: "1s" } } },
    prepare(makeSite) {
      for (const label of ["changed", "same"]) {
        const site = makeSite(label);
        site.own({ signing: "none", ttl: 1 });
        site.mx("mx", { startTlsKeyword: "" });
        site.sts({ id: "1" });
      }
    },
    async run(stage) {
      const site = stage.site("changed");
      const [changed, same] = [await stage.submit("changed"), await stage.submit("same")];
      stage.deferred(await stage.next(changed), "starttls-not-supported", "at first");
      stage.deferred(await stage.next(same), "starttls-not-supported", "at first, the other");
      const host = site.policyHosts[0];
      if (host !== undefined) host.serve = servePolicy(policyFile("testing", mxName(site)));
      await stage.changeZone("changed", `_mta-sts.${site.domain}`, "TXT", ['"v=STSv1; id=2;"']);
      let event = await stage.next(changed);
      while (event["outcome"] === "deferred") event = await stage.next(changed);
      stage.delivered(event, "clear", "testing under a new id");
      event = await stage.next(same);
      while (event["outcome"] === "deferred") event = await stage.next(same);
      stage.expect(`control: with the same id it is given up (it was ${String(event["outcome"])})`, event["outcome"] === "expired");
    },
  },
  {
    name: "TLSA records repaired between two attempts are seen",
    section: "RFC 7672 §2.2",
    settings: open,
    prepare(makeSite) {
      const site = makeSite("a");
      site.own({ ttl: 1 });
      site.tlsa(site.mx("mx", { certificate: site.io.certificates.dane }), wrongKey);
    },
    async run(stage) {
      const site = stage.site("a");
      const first = await stage.send("a");
      stage.deferred(first, "validation-failure", "a record of another key");
      await stage.changeZone("a", `_25._tcp.${mxName(site)}`, "TLSA", [tlsaFor("3 1 1", site.io.certificates.dane.certificate)]);
      stage.delivered(await stage.retry(first.id), "authenticated", "a record of its key");
    },
  },
  {
    name: "a resolver that is killed makes mail wait, and never makes it insecure",
    section: "RFC 7672 §2.1.2",
    settings: { ...open, resolver: { servers: [FIXED.mortal], validating: [FIXED.mortal], timeout: "1s", attempts: 1 } },
    prepare(makeSite) {
      for (const label of ["dane", "plain", "control"]) {
        const site = makeSite(label).use(label === "dane" ? "signed" : "plain");
        const host = site.mx("mx", { startTlsKeyword: "" });
        if (label === "dane") site.tlsa(host, wrongKey);
      }
    },
    async run(stage) {
      stage.delivered(await stage.send("control"), "clear", "control: while it lives");
      await stage.world.mortal.end();
      const [dane, plain] = [await stage.send("dane"), await stage.send("plain")];
      stage.deferred(dane, "dns-failure", "while it is dead");
      stage.deferred(plain, "dns-failure", "while it is dead, without DANE");
      await stage.world.mortal.begin();
      stage.deferred(await stage.retryPast(dane.id, "dns-failure"), "starttls-not-supported", "once it is back, DANE binds");
      stage.delivered(await stage.retryPast(plain.id, "dns-failure"), "clear", "once it is back, without DANE");
      stage.expect(
        "no host heard of it meanwhile",
        stage.site("dane").receivers.every(({ heard }) => !heard.some((line) => / MAIL/.test(line))),
      );
    },
  },
  {
    name: "the relay's own resolver, killed, is started again, and DANE holds throughout",
    section: "RFC 7672 §2.1.1",
    settings: { ...open, resolver: { servers: ["managed"], validating: [] } },
    prepare(makeSite) {
      for (const label of ["before", "after", "later"]) {
        const site = makeSite(label).use("signed");
        site.tlsa(site.mx("mx", { startTlsKeyword: "" }), wrongKey);
      }
    },
    async run(stage) {
      stage.deferred(await stage.send("before"), "starttls-not-supported", "at first");
      const children = childrenOf(stage.relay.pid, "unbound");
      stage.expect(`it runs one unbound (${children.length})`, children.length === 1);
      for (const pid of children) process.kill(pid, "SIGKILL");
      stage.deferred(await stage.send("after"), "starttls-not-supported|dns-failure|dnssec-invalid", "just killed");
      await waitUntil("another unbound", () => childrenOf(stage.relay.pid, "unbound").some((pid) => !children.includes(pid)));
      const later = await stage.send("later");
      const event = later["reason"] === "dns-failure" ? await stage.retryPast(later.id, "dns-failure") : later;
      stage.deferred(event, "starttls-not-supported", "started again");
      const [last] = childrenOf(stage.relay.pid, "unbound");
      await stage.relay.stop("SIGKILL");
      await waitUntil("the resolver has died with the relay", () => last === undefined || nameOf(last) !== "unbound");
    },
  },
  {
    name: "a policy host that hangs delays its own domain only",
    section: "RFC 8461 §3.3",
    settings: { ...open, tls: { floor: "opportunistic", mtaSts: { fetchTimeout: "8s" } } },
    prepare(makeSite) {
      const hanging = makeSite("hanging").use("plain");
      hanging.mx();
      hanging.sts({ address: FIXED.silentPolicyHost });
      const other = makeSite("other").use("plain");
      other.mx();
      other.sts();
    },
    async run(stage) {
      const waiting = await stage.submit("hanging");
      stage.delivered(await stage.send("other"), "authenticated", "the other domain");
      stage.expect("the first one still waits for its policy host", !stage.isSettled(waiting));
      stage.delivered(await stage.next(waiting), "authenticated", "and is delivered to in the end");
    },
  },
  {
    name: "a domain with policy costs one fetch, however many messages come at once, and later ones none",
    section: "RFC 8461 §3.3",
    settings: open,
    prepare(makeSite) {
      for (const label of ["a", "b"]) {
        const site = makeSite(label).use("plain");
        site.mx();
        site.sts();
      }
    },
    async run(stage) {
      const fetches = (label: string) => stage.site(label).policyHosts[0]?.requests.length ?? 0;
      const ids: string[] = [];
      for (let count = 0; count < 10; count += 1) ids.push(await stage.submit("a"));
      for (const id of ids) stage.delivered(await stage.next(id), "authenticated", "one of ten");
      stage.expect(`one fetch (${fetches("a")})`, fetches("a") === 1);
      for (let count = 0; count < 5; count += 1) stage.delivered(await stage.send("a"), "authenticated", "a later one");
      await stage.relay.restart();
      stage.delivered(await stage.send("a"), "authenticated", "after a restart");
      stage.expect(`still one fetch (${fetches("a")})`, fetches("a") === 1);
      stage.delivered(await stage.send("b"), "authenticated", "another domain");
      stage.expect(`control: another domain has a fetch of its own (${fetches("b")})`, fetches("b") === 1);
    },
  },
  {
    name: "a resolver that turns blind: domains known with DANE wait, others go by the floor",
    section: "RFC 7672 §2.1.1",
    settings: {
      ...open,
      resolver: { servers: [FIXED.failing], validating: [FIXED.failing], cacheEntries: 1, selfTest: { every: "2s" } },
    },
    prepare(makeSite) {
      for (const label of ["known", "unknown"]) {
        const site = makeSite(label);
        site.own({ ttl: 1 });
        site.daneMx("mx");
      }
    },
    async run(stage) {
      stage.delivered(await stage.send("known"), "authenticated", "while it validates");
      stage.world.meddlers.get(FIXED.failing)?.blind(true);
      await waitUntil("the relay knows that its resolver is blind", () =>
        stage.relay.events.some((event) => /blind/.test(JSON.stringify(event)) && event.event !== "recipient-settled"),
      );
      stage.deferred(await stage.send("known"), "resolver-blind", "known with DANE");
      stage.delivered(await stage.send("unknown"), "encrypted", "never seen with DANE");
    },
  },
  {
    name: "a connection opened for a domain without policy does not serve one with policy",
    section: "RFC 8461 §4",
    settings: { ...open, delivery: { timeouts: { idle: "10s" } } },
    async prepare(makeSite) {
      const lax = makeSite("lax").use("plain");
      const host = lax.mx("mx", { certificate: await lax.issue({ names: ["other.test"] }) });
      const strict = makeSite("strict").use("plain");
      strict.record(strict.domain, "MX", `10 ${host.name}.`);
      strict.sts({ mx: [host.name] });
    },
    async run(stage) {
      stage.delivered(await stage.send("lax"), "encrypted", "without policy");
      stage.deferred(await stage.send("strict"), "certificate-host-mismatch", "with policy, on the same host");
      stage.delivered(await stage.send("lax"), "encrypted", "control: without policy, again");
    },
  },
  {
    name: "a bounce of a REQUIRETLS message returns headers only, and asks for REQUIRETLS itself",
    section: "RFC 8689 §5",
    settings: open,
    prepare(makeSite) {
      makeSite("lacking").use("signed").mx();
      makeSite("sender").use("signed").mx("mx", { requireTls: true });
    },
    async run(stage) {
      const sender = stage.site("sender");
      const bounce = await stage.send("lacking", { requireTls: true, sender: `alice@${sender.domain}` });
      stage.expect(`it bounces with 5.7.30 (${String(bounce["status"])})`, bounce["status"] === "5.7.30");
      const notice = await waitUntil("the notice", () => sender.receivers[0]?.messages[0]);
      stage.expect(`MAIL has REQUIRETLS (${notice.mail})`, notice.mail.includes("REQUIRETLS") && notice.mail.includes("<>"));
      stage.expect("headers only", notice.text.includes("text/rfc822-headers") && !notice.text.includes("Hello."));
    },
  },
];

/** Living children of a process with this name. */
function childrenOf(parent: number, name: string): number[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => nameOf(pid) === name && isBelow(pid, parent));
}

function stat(pid: number): { name: string; state: string; parent: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    const [state = "", parent = "0"] = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { name: text.slice(text.indexOf("(") + 1, text.lastIndexOf(")")), state, parent: Number(parent) };
  } catch {
    return undefined;
  }
}

function nameOf(pid: number): string | undefined {
  const found = stat(pid);
  return found === undefined || found.state === "Z" ? undefined : found.name;
}

/** A wrapper such as setpriv, or a shell, may stand in between. */
function isBelow(pid: number, ancestor: number): boolean {
  for (let at = stat(pid)?.parent ?? 0, depth = 0; at > 1 && depth < 5; at = stat(at)?.parent ?? 0, depth += 1)
    if (at === ancestor) return true;
  return false;
}
