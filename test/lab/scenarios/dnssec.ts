/**
 * DNS that fails or lies: every way of losing an answer, for each kind of question. Whoever can make a look-up fail must
 * not be able to switch DANE off (RFC 7672 §2.1.2); what fails for TLSA alone makes the host unreachable unseen.
 */
import { deferred, delivered, type Scenario, type ScenarioGroup } from "../scenario.ts";
import { tlsaFor } from "../world/certificates.ts";
import type { Meddling } from "../world/meddler.ts";
import type { RecordFault } from "../world/zones.ts";

const dnssecInvalid = deferred("dnssec-invalid");
const dnsFailure = deferred("dns-failure");
const toldGood = "tlsa of mx ok";
const toldNone = "no-policy-found ok";
/** A validator that fails for another server's sake may say so or not; of a signature it says what is wrong (RFC 8914 §4). */
const toldFailed = "tlsa of mx failed dnssec-invalid/*";
const toldBogus = "tlsa of mx failed dnssec-invalid/ede-*";

function toldOf(how: Meddling): string {
  // Whether the resolver gives up in time to say so, or its silence counts for nothing (RFC 8460 §4.3.4), is a matter of seconds.
  if (how === "drop") return `${toldFailed} | nothing`;
  return how === "strip-signatures" || how.startsWith("forged") ? toldBogus : toldFailed;
}

function tlsaFails(how: Meddling, words: string, ownServer = false): Scenario {
  return {
    name: `TLSA in a signed zone: ${words}`,
    section: "RFC 7672 §2.1.2",
    relay: "open",
    set(site, faulty) {
      if (ownServer) site.own({ meddler: true });
      else site.use("meddled");
      const host = site.daneMx();
      if (!faulty) return;
      site.meddle(`_25._tcp.${host.name}`, "TLSA", how);
      site.neverConnected(host);
    },
    must: dnssecInvalid,
    control: ["it is answered", delivered("authenticated")],
    told: [toldOf(how), toldGood],
  };
}

function spoilt(how: RecordFault, words: string): Scenario {
  return {
    name: `TLSA in a signed zone: ${words}`,
    section: "RFC 7672 §2.1.2",
    relay: "open",
    set(site, faulty) {
      const host = site.use("signed").daneMx();
      if (!faulty) return;
      site.spoil(`_25._tcp.${host.name}`, "TLSA", how);
      site.neverConnected(host);
    },
    must: dnssecInvalid,
    control: ["a sound signature", delivered("authenticated")],
    told: [toldBogus, toldGood],
  };
}

/** In an unsigned zone nothing is lost: no TLSA is asked, and its failure cannot stop mail. */
const unsignedTlsa: Scenario = {
  name: "TLSA in an unsigned zone fails: it is not even asked",
  section: "RFC 7672 §2.2.2",
  relay: "open",
  set(site, faulty) {
    site.use(faulty ? "meddledPlain" : "meddled");
    const host = site.mx();
    // A record that is there: a resolver may deny what is not from the NSEC records it has seen (RFC 8198), and ask nobody.
    site.tlsa(host, "3 1 1", site.io.certificates.good.certificate);
    site.meddle(`_25._tcp.${host.name}`, "TLSA", "servfail");
  },
  must: delivered("authenticated"),
  control: ["the same in a signed zone", dnssecInvalid],
  told: [toldNone, toldFailed],
};

const tlsa: Scenario[] = [
  tlsaFails("servfail", "SERVFAIL"),
  tlsaFails("refused", "REFUSED"),
  tlsaFails("notimp", "NOTIMP"),
  tlsaFails("formerr", "FORMERR"),
  tlsaFails("strip-signatures", "the signatures are lost on the way"),
  tlsaFails("forged-nxdomain", "somebody says there is no such name"),
  tlsaFails("forged-nodata", "somebody says there is no such record"),
  tlsaFails("drop", "no answer ever", true),
  tlsaFails("malformed", "octets that are no answer", true),
  tlsaFails("cut", "an answer cut short", true),
  tlsaFails("truncate-only", "truncated, and TCP gives nothing", true),
  spoilt("tampered", "the signature was tampered with"),
  spoilt("stripped", "the signature is missing in the zone"),
  spoilt("expired", "the signature has expired"),
  {
    name: "an answer that only TCP can carry is an answer",
    section: "RFC 7672 §2.1.1",
    relay: "open",
    set(site, faulty) {
      const host = site.use("meddled").mx("mx", { certificate: site.io.certificates.dane });
      site.tlsa(host, faulty ? tlsaFor("3 1 1", site.io.certificates.dane.certificate) : `3 1 1 ${"ab".repeat(32)}`);
      site.meddle(`_25._tcp.${host.name}`, "TLSA", "truncate");
    },
    must: delivered("authenticated"),
    control: ["a record of another key", deferred("validation-failure", /dane-no-match/)],
    told: [toldGood, "tlsa of mx failed validation-failure/dane-no-match"],
  },
  {
    name: "a failed look-up at the expanded name is not followed by a look at the name as written",
    section: "RFC 7672 §2.1.2",
    relay: "open",
    set(site, faulty) {
      site.use("meddled");
      const target = site.host("target", { certificate: site.io.certificates.dane });
      const written = site.name("mx");
      site.record(site.domain, "MX", `10 ${written}.`);
      site.record(written, "CNAME", `${target.name}.`);
      site.tlsa(written, "3 1 1", site.io.certificates.dane.certificate);
      if (!faulty) return;
      site.tlsa(target, "3 1 1", site.io.certificates.dane.certificate);
      site.meddle(`_25._tcp.${target.name}`, "TLSA", "servfail");
      site.neverConnected(target);
    },
    must: dnssecInvalid,
    control: ["it is denied", delivered("authenticated", "target")],
    told: ["tlsa of target failed dnssec-invalid/*", toldGood],
  },
  {
    name: "a host whose TLSA look-up fails is passed over for the next",
    section: "RFC 7672 §2.1.2",
    relay: "open",
    set(site, faulty) {
      site.use("meddled");
      const first = site.daneMx("mx1");
      site.daneMx("mx2", { preference: 20 });
      if (!faulty) return;
      site.meddle(`_25._tcp.${first.name}`, "TLSA", "servfail");
      site.neverConnected(first);
    },
    must: delivered("authenticated", "mx2"),
    control: ["it does not fail", delivered("authenticated", "mx1")],
    told: ["tlsa of mx1 failed dnssec-invalid/* + tlsa of mx2 ok", "tlsa of mx1 ok"],
  },
  unsignedTlsa,
];

function mxFails(how: Meddling, zone: "meddled" | "meddledPlain", words: string): Scenario {
  return {
    name: `MX in ${zone === "meddled" ? "a signed" : "an unsigned"} zone: ${words}; the domain's own address is no way out`,
    section: "RFC 7672 §2.1.2",
    relay: "open",
    set(site, faulty) {
      site.use(zone).mx();
      const itself = site.host("itself", { name: site.domain });
      if (faulty) site.meddle(site.domain, "MX", how);
      site.neverConnected(itself);
    },
    // What a validator calls bogus is told apart from a server that only fails (RFC 8914).
    must: how === "servfail" || how === "refused" ? dnsFailure : dnssecInvalid,
    control: ["it is answered", delivered("authenticated")],
    // MX records that do not hold are told of, and those that could not be had are not.
    told: [how === "servfail" || how === "refused" ? "nothing" : "tlsa of domain failed dnssec-invalid/ede-*", toldNone],
  };
}

function addressFails(how: Meddling, zone: "meddled" | "meddledPlain", words: string): Scenario {
  return {
    name: `addresses in ${zone === "meddled" ? "a signed" : "an unsigned"} zone: ${words}; the next host gets the mail`,
    section: "RFC 7672 §2.1.2",
    relay: "open",
    set(site, faulty) {
      site.use(zone);
      const first = site.mx("mx1");
      site.mx("mx2", { preference: 20 });
      if (!faulty) return;
      for (const type of ["A", "AAAA"]) site.meddle(first.name, type, how);
      site.neverConnected(first);
      site.neverAsked(`_25._tcp.${first.name}`, "TLSA");
    },
    must: delivered("authenticated", "mx2"),
    control: ["they are answered", delivered("authenticated", "mx1")],
    told: [how === "servfail" ? toldNone : `tlsa of mx1 failed dnssec-invalid/ede-* + ${toldNone}`, toldNone],
  };
}

const rest: Scenario[] = [
  mxFails("servfail", "meddled", "SERVFAIL"),
  mxFails("strip-signatures", "meddled", "the signatures are lost"),
  mxFails("forged-nodata", "meddled", "somebody says there are none"),
  mxFails("servfail", "meddledPlain", "SERVFAIL"),
  mxFails("refused", "meddledPlain", "REFUSED"),
  addressFails("servfail", "meddled", "SERVFAIL"),
  addressFails("strip-signatures", "meddled", "the signatures are lost"),
  addressFails("servfail", "meddledPlain", "SERVFAIL"),
  {
    name: "AAAA fails and A does not: DANE applies over IPv4",
    section: "RFC 7672 §2.1.2",
    relay: "open",
    set(site, faulty) {
      const host = site.use("meddled").mx();
      site.tlsa(host, faulty ? `3 1 1 ${"ab".repeat(32)}` : tlsaFor("3 1 1", site.io.certificates.good.certificate));
      site.meddle(host.name, "AAAA", "servfail");
    },
    must: deferred("validation-failure", /dane-no-match/),
    control: ["the record matches", delivered("authenticated")],
    told: ["tlsa of mx failed validation-failure/dane-no-match", toldGood],
  },
  ...(
    [
      ["expired", "all signatures of the domain's zone have expired"],
      ["wrongDs", "the DS of the domain's zone is of another key"],
    ] as const
  ).map(
    ([zone, words]): Scenario => ({
      name: words,
      section: "RFC 7672 §2.1.2",
      relay: "open",
      set(site, faulty) {
        site.use(faulty ? zone : "signed");
        const host = site.mx("mx", { in: "signed" });
        if (faulty) site.neverConnected(host);
      },
      must: dnssecInvalid,
      control: ["a sound zone", delivered("authenticated")],
      told: ["tlsa of domain failed dnssec-invalid/ede-*", toldNone],
    }),
  ),
  ...(
    [
      ["expired", "all signatures of the host's zone have expired"],
      ["wrongDs", "the DS of the host's zone is of another key"],
    ] as const
  ).map(
    ([zone, words]): Scenario => ({
      name: words,
      section: "RFC 7672 §2.1.2",
      relay: "open",
      set(site, faulty) {
        site.use("signed");
        const host = site.mx("mx", { in: faulty ? zone : "other" });
        if (faulty) site.neverConnected(host);
      },
      must: dnssecInvalid,
      control: ["a sound zone", delivered("authenticated")],
      told: [toldBogus, toldNone],
    }),
  ),
  {
    name: "MTA-STS passes and TLSA fails: the host is not contacted",
    section: "RFC 7672 §2.1.2",
    relay: "open",
    set(site, faulty) {
      const host = site.use("meddled").mx();
      site.tlsa(host, "3 1 1", site.io.certificates.good.certificate);
      site.sts();
      if (!faulty) return;
      site.meddle(`_25._tcp.${host.name}`, "TLSA", "servfail");
      site.neverConnected(host);
    },
    must: dnssecInvalid,
    control: ["TLSA is answered", delivered("authenticated")],
    told: [toldFailed, `${toldGood} + sts ok`],
  },
];

export const dnssec: ScenarioGroup = { subject: "DNS that fails or lies", scenarios: [...tlsa, ...rest] };
