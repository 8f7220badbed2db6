/** Whose policy and which name counts: policy domains, aliases, internationalised names, domains without MX, literals, routes. */
import { bounced, deferred, delivered, type ScenarioGroup } from "../scenario.ts";

const noStartTls = deferred("starttls-not-supported");
const toldBare = "sts failed starttls-not-supported";
const toldNoPolicy = "no-policy-found failed starttls-not-supported";
const toldNone = "no-policy-found ok";

export const names: ScenarioGroup = {
  subject: "Names",
  scenarios: [
    {
      name: "the policy of a parent domain does not count",
      section: "RFC 8461 §3.4",
      relay: "open",
      set(site, faulty) {
        site.use("plain").mx("mx", { startTlsKeyword: "" });
        const parent = site.domain;
        site.sts({ mx: ["*.plain.test"] });
        site.setDomain(`mail.${parent}`);
        site.record(site.domain, "MX", `10 ${site.name("mx")}.`);
        if (faulty) site.neverAsked(`_mta-sts.${parent}`, "TXT");
        else site.sts({ mx: ["*.plain.test"] });
      },
      must: delivered("clear"),
      control: ["a policy of its own", noStartTls],
      told: [toldNoPolicy, toldBare],
    },
    {
      name: "the policy of the MX host's name does not count",
      section: "RFC 8461 §1.1",
      relay: "open",
      set(site, faulty) {
        site.use("plain");
        const own = site.domain;
        const mx = site.mx("mx", { startTlsKeyword: "" });
        if (faulty) site.setDomain(mx.name);
        site.sts({ mx: [mx.name] });
        site.setDomain(own);
        if (faulty) site.neverAsked(`_mta-sts.${mx.name}`, "TXT");
      },
      must: delivered("clear"),
      control: ["the policy is the domain's", noStartTls],
      told: [toldNoPolicy, toldBare],
    },
    {
      name: "the policy of an aliased domain's target does not count",
      section: "RFC 8461 §3.1",
      relay: "open",
      set(site, faulty) {
        site.use("plain").mx("mx", { startTlsKeyword: "" });
        const target = site.domain;
        const alias = site.name("alias");
        if (faulty) site.sts({ mx: ["*.plain.test"] });
        site.record(alias, "CNAME", `${target}.`);
        site.setDomain(alias);
        if (!faulty) site.sts({ mx: ["*.plain.test"] });
        if (faulty) site.neverAsked(`_mta-sts.${target}`, "TXT");
      },
      must: delivered("clear"),
      control: ["a policy at the alias's own name", noStartTls],
      told: [toldNoPolicy, toldBare],
    },
    {
      name: "an internationalised domain is asked for by its A-label",
      section: "RFC 8461 §3.2",
      relay: "open",
      set(site, faulty) {
        site.use("plain");
        const ascii = `xn--bcher-kva-${site.id}`;
        site.setDomain(new URL(`http://bücher-${site.id}.plain.test`).hostname);
        site.mx("mx", { startTlsKeyword: "" });
        site.recipient = `jo@bücher-${site.id}.plain.test`;
        if (faulty) site.sts();
        if (faulty) site.asked(`_mta-sts.${site.domain}`, "TXT");
        site.claim(`the name is an A-label (${ascii})`, () => site.domain.startsWith("xn--"));
      },
      must: noStartTls,
      control: ["no policy", delivered("clear")],
      told: [toldBare, toldNoPolicy],
    },
    {
      name: "a domain without MX records is its own host, and its policy must list it",
      section: "RFC 8461 §4.1",
      relay: "open",
      set(site, faulty) {
        site.use("plain").host("mx", { name: site.domain });
        site.sts({ mx: faulty ? [`mx.${site.domain}`] : [site.domain] });
      },
      must: deferred("validation-failure", /mx-not-in-policy/),
      control: ["it lists itself", delivered("authenticated")],
      told: ["sts failed validation-failure/mx-not-in-policy", "sts ok"],
    },
    {
      name: "a domain without MX records needs a certificate for its own name",
      section: "RFC 8461 §4.2",
      relay: "open",
      async set(site, faulty) {
        site.use("plain");
        const other = await site.issue({ names: [`mx.${site.domain}`] });
        site.host("mx", { name: site.domain, ...(faulty && { certificate: other }) });
        site.sts({ mx: [site.domain] });
      },
      must: deferred("certificate-host-mismatch"),
      control: ["it has one", delivered("authenticated")],
      told: ["sts failed certificate-host-mismatch", "sts ok"],
    },
    {
      name: "an address literal has no policy, and no name to prove",
      section: "RFC 8461 §3.4",
      relay: "open",
      controlRelay: "strict",
      set(site) {
        const host = site.host("mx", {});
        site.setDomain(`[${host.address}]`);
        site.neverAsked(`_25._tcp.${site.domain}`, "TLSA");
      },
      must: delivered("encrypted"),
      control: ["the floor asks for proof", deferred("not-configured")],
      // Nobody publishes where reports on an address are to go (RFC 8460 §3).
      told: ["nothing", "nothing"],
    },
    {
      name: "with a route the recipient's own policy is not asked for",
      section: "RFC 8461 §3.4",
      relay: "open",
      set(site, faulty) {
        site.use("plain").mx("mx", { startTlsKeyword: "" });
        site.sts();
        if (!faulty) return;
        const relayhost = site.host("relay", {});
        site.route = { host: relayhost.name };
        site.neverAsked(`_mta-sts.${site.domain}`, "TXT");
        site.neverAsked(site.domain, "MX");
      },
      must: delivered("authenticated", "relay"),
      control: ["without the route", noStartTls],
      told: ["relay: no-policy-found ok", toldBare],
    },
    {
      name: "a route asks for a certificate of the configured name",
      section: "RFC 6125 §6.2.1",
      relay: "open",
      async set(site, faulty) {
        site.use("plain");
        const host = site.host("relay", faulty ? { certificate: await site.issue({ names: ["other.test"] }) } : {});
        site.route = { host: host.name };
      },
      must: deferred("certificate-host-mismatch"),
      control: ["it has one", delivered("authenticated", "relay")],
      // What the operator asks of his relay host is no policy that it publishes.
      told: ["relay: no-policy-found ok", "relay: no-policy-found ok"],
    },
    {
      name: "a null MX is final",
      section: "RFC 7505 §3",
      relay: "open",
      set(site, faulty) {
        site.use("signed");
        if (faulty) {
          site.record(site.domain, "MX", "0 .");
          site.host("mx", { name: site.domain });
        } else site.mx();
      },
      must: bounced("5.1.10"),
      control: ["a real MX", delivered("authenticated")],
      told: ["nothing", toldNone],
    },
    {
      name: "a domain that does not exist is final",
      section: "RFC 5321 §5.1",
      relay: "open",
      set(site, faulty) {
        site.use("signed");
        if (!faulty) site.mx();
      },
      must: bounced("5.1.2"),
      control: ["it exists", delivered("authenticated")],
      told: ["nothing", toldNone],
    },
    {
      name: "an MX host on a private network is not connected to",
      section: "RFC 6890 §2.2",
      relay: "open",
      set(site, faulty) {
        site.use("signed");
        if (faulty) {
          site.record(site.domain, "MX", `10 ${site.name("mx")}.`);
          site.record(site.name("mx"), "A", "10.9.9.9");
        } else site.mx();
      },
      must: deferred("forbidden-address", /private/),
      control: ["a public address", delivered("authenticated")],
      told: ["nothing", toldNone],
    },
    {
      name: "two domains with the same MX host are judged each by its own policy",
      section: "RFC 8461 §4",
      relay: "open",
      async set(site, faulty) {
        site.use("plain");
        const shared = site.mx("mx", { certificate: await site.issue({ names: ["other.test"] }) });
        const second = site.name("second");
        site.record(second, "MX", `10 ${shared.name}.`);
        // The strict domain is the one mailed to; its neighbour publishes nothing.
        if (!faulty) site.setDomain(second);
        else site.sts();
      },
      must: deferred("certificate-host-mismatch"),
      control: ["the neighbour that publishes nothing", delivered("encrypted")],
      told: ["sts failed certificate-host-mismatch", toldNone],
    },
  ],
};
