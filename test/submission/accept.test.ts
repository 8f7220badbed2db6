import { describe, expect, test } from "vitest";
import type { EmailAddress } from "../../src/mail/address.ts";
import {
  type AcceptRules,
  type ClientFacts,
  judgeClient,
  judgeRecipient,
  judgeSender,
  parseDomainList,
  parseSendAs,
} from "../../src/submission/accept.ts";

function domains(...entries: string[]) {
  const list = parseDomainList(entries);
  if (!list.ok) throw new Error(list.error);
  return list.value;
}
function sendAs(...entries: string[]) {
  const allowed = parseSendAs(entries);
  if (!allowed.ok) throw new Error(allowed.error);
  return allowed.value;
}
const address = (text: string) => text as EmailAddress;
const stranger: ClientFacts = { address: "203.0.113.9", trusted: false, gateway: false, loggedIn: false };
const neighbour: ClientFacts = { address: "172.20.0.4", trusted: true, gateway: false, loggedIn: false };
const gateway: ClientFacts = { address: "172.20.0.1", trusted: false, gateway: true, loggedIn: false };
const user = (...maySendAs: string[]): ClientFacts => ({
  ...stranger,
  loggedIn: true,
  user: { name: "alice", maySendAs: sendAs(...maySendAs) },
});
const rules = (senders: string[], recipients: string[] = []): AcceptRules => ({
  senderDomains: domains(...senders),
  recipientDomains: domains(...recipients),
});

describe("who may start", () => {
  const open = { name: "smtp", loginRequired: false };
  const closed = { name: "submission", loginRequired: true };
  test.each([
    ["a neighbour", neighbour, open, undefined],
    ["a user", user(), open, undefined],
    ["a user where login is asked", user(), closed, undefined],
    ["a stranger", stranger, open, "530 5.7.0 login needed: 203.0.113.9 is not in MYNETWORKS. [relay/auth]"],
    [
      "a neighbour where login is asked",
      neighbour,
      closed,
      "530 5.7.0 login needed: listener submission takes no mail without it. [relay/auth]",
    ],
    [
      "the gateway",
      gateway,
      open,
      "550 5.7.1 172.20.0.1 is this network's gateway, where published ports arrive from, so it may not relay without login. Use SMTP_USERS, or add it to MYNETWORKS. [relay/gateway]",
    ],
    ["the gateway, logged in", { ...gateway, loggedIn: true }, open, undefined],
  ] as [string, ClientFacts, typeof open, string | undefined][])("%s", (_name, client, listener, reply) =>
    expect(judgeClient(client, listener)).toBe(reply),
  );
});

describe("senders", () => {
  test.each([
    ["a listed domain", neighbour, "a@example.com", ["example.com"], true],
    ["the null path, always", neighbour, "", ["example.com"], true],
    ["the null path of a user with addresses of their own", user("alice@x.test"), "", ["example.com"], true],
    ["a subdomain by suffix", neighbour, "a@shop.example.com", [".example.com"], true],
    ["the domain itself is no subdomain", neighbour, "a@example.com", [".example.com"], false],
    ["another name that ends alike", neighbour, "a@notexample.com", [".example.com"], false],
    ["anything where nothing is listed", neighbour, "a@other.test", [], true],
    ["an unlisted domain", neighbour, "a@other.test", ["example.com"], false],
    ["a user without own rules, listed", user(), "a@example.com", ["example.com"], true],
    ["a user without own rules, unlisted", user(), "a@other.test", ["example.com"], false],
    ["a user's own address", user("alice@x.test"), "alice@x.test", ["example.com"], true],
    ["a user's own address in other case", user("Alice@x.test"), "ALICE@x.test", [], true],
    ["another's address", user("alice@x.test"), "bob@x.test", [], false],
    ["a user's domain", user("@x.test"), "any@x.test", [], true],
    ["a subdomain of a user's domain", user("@x.test"), "any@sub.x.test", [], false],
    ["a user's domain with subdomains", user("@.x.test"), "any@sub.x.test", [], true],
    ["that domain itself", user("@.x.test"), "any@x.test", [], true],
    ["a name that only ends alike", user("@.x.test"), "any@ax.test", [], false],
    ["a listed domain is not a user's own", user("@x.test"), "a@example.com", ["example.com"], false],
  ] as [string, ClientFacts, string, string[], boolean][])("%s", (_name, client, sender, listed, allowed) =>
    expect(judgeSender(client, address(sender), rules(listed)) === undefined).toBe(allowed),
  );

  test("the refusal names the list and the remedy", () => {
    expect(judgeSender(neighbour, address("a@shop.example.com"), rules(["example.com"]))).toBe(
      "550 5.7.1 sender domain shop.example.com is not in ALLOWED_SENDER_DOMAINS (example.com). Add it, or .example.com. [relay/sender]",
    );
    expect(judgeSender(neighbour, address("a@other.test"), rules(["a.test", "b.test", "c.test", "d.test"]))).toBe(
      "550 5.7.1 sender domain other.test is not in ALLOWED_SENDER_DOMAINS (a.test, b.test, c.test and 1 more). Add it. [relay/sender]",
    );
    expect(judgeSender(user("alice@x.test"), address("bob@x.test"), rules([]))).toBe(
      "550 5.7.1 user alice may not send as bob@x.test, only as alice@x.test. [relay/user-sender]",
    );
  });
});

describe("recipients", () => {
  test.each([
    ["b@gmail.com", [], undefined],
    ["b@gmail.com", ["example.com"], "554 5.7.1 recipient domain gmail.com is outside ALLOWED_RECIPIENT_DOMAINS. [relay/recipients]"],
    ["b@example.com", ["example.com"], undefined],
    ["b@sub.example.com", [".example.com"], undefined],
    ["b@[192.0.2.1]", ["example.com"], "554 5.7.1 recipient domain [192.0.2.1] is outside ALLOWED_RECIPIENT_DOMAINS. [relay/recipients]"],
    ["b@[192.0.2.1]", [], undefined],
    ["root@localhost", [], "550 5.1.2 recipient domain localhost is not fully qualified. [relay/unqualified]"],
    ["root@mailbox", ["mailbox"], undefined],
  ] as [string, string[], string | undefined][])("%s with fence %j", (recipient, fence, reply) =>
    expect(judgeRecipient(address(recipient), rules([], fence), false)).toBe(reply),
  );

  test("the postmaster is always reached", () =>
    expect(judgeRecipient(address("postmaster@localhost"), rules([], ["example.com"]), true)).toBeUndefined());
});

test.each([[["not a domain"]], [[".."]], [["*.example.com"]]])("domain list %j is refused", (entries) =>
  expect(parseDomainList(entries).ok).toBe(false),
);
test.each([[["alice"]], [["@"]], [["a@b c"]], [["@.."]]])("send-as %j is refused", (entries) =>
  expect(parseSendAs(entries).ok).toBe(false),
);
test("lists take names beyond ASCII", () =>
  expect(judgeSender(neighbour, address("a@xn--bcher-kva.test"), rules(["bücher.test"]))).toBeUndefined());
