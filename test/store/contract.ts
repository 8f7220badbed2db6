/**
 * Every promise of queue/store.ts, for whichever backend: a way to open one in, tests out.
 */
import { describe, expect, test } from "vitest";
import type { Domain } from "../../src/mail/domain.ts";
import type { NewMessage } from "../../src/queue/entry.ts";
import type { KeptStsPolicy, QueueStore } from "../../src/queue/store.ts";
import {
  address,
  attempt,
  DAY,
  DELIVERED,
  FAILED,
  HOUR,
  hop,
  leaseOne,
  newMessage,
  NO_LEASE,
  problem,
  readBody,
  settlementOf,
  SMALL,
  submit,
  T0,
  TestClock,
  WAITING,
} from "./make.ts";

export interface Backend {
  /** A fresh store; `reopen` closes it and opens the same data again. */
  open(clock: TestClock): Promise<{ store: QueueStore; reopen(): Promise<QueueStore> }>;
}

export function describeContract(name: string, backend: Backend): void {
  const open = async () => {
    const clock = new TestClock();
    return { clock, ...(await backend.open(clock)) };
  };

  describe(`${name}: queue ids`, () => {
    test("have ten characters, sort by time and are never given twice, also when the clock steps back", async () => {
      const { store, clock } = await open();
      const ids = Array.from({ length: 2000 }, () => store.newQueueId());
      clock.time -= HOUR;
      ids.push(store.newQueueId());
      clock.time += 2 * HOUR;
      ids.push(store.newQueueId());
      expect(new Set(ids).size).toBe(ids.length);
      expect(ids).toEqual(ids.toSorted());
      for (const id of ids) expect(id).toMatch(/^[0-9A-HJKMNP-TV-Z]{10}$/);
    });

    test("go on behind the highest after a restart with a clock that stepped back", async () => {
      const { store, clock, reopen } = await open();
      const { message } = await submit(store);
      clock.time -= DAY;
      expect((await reopen()).newQueueId() > message.id).toBe(true);
    });

    test("go on behind the highest also when its message was forgotten", async () => {
      const { store, clock, reopen } = await open();
      const { message, leased } = await submit(store, { lease: true });
      await store.saveSettlement(leased[0]!.lease, settlementOf(leased[0]!, [DELIVERED]), NO_LEASE);
      expect(await store.admin.forgetFinished(T0 + DAY)).toBe(1);
      clock.time -= DAY;
      expect((await reopen()).newQueueId() > message.id).toBe(true);
    });
  });

  describe(`${name}: enqueue`, () => {
    test("leases what it is asked to, attempt counted, body at hand; the rest is due in the database", async () => {
      const { store } = await open();
      const message = newMessage(store, { to: ["a@one.test", "b@two.test", "c@one.test"] });
      const body = store.newBody();
      await body.write(Buffer.from(SMALL));
      const asked: string[] = [];
      const leased = await store.enqueue(message, body, {
        leaseNow: (nextHop, submitter) => {
          asked.push(`${nextHop} ${submitter}`);
          return nextHop === "one.test";
        },
        leaseUntil: T0 + HOUR,
      });
      expect(asked).toEqual(["one.test net:192.0.2.7", "two.test net:192.0.2.7"]);
      expect(leased).toHaveLength(1);
      const [entry] = leased;
      expect(entry!.recipients.map((recipient) => recipient.address)).toEqual(["a@one.test", "c@one.test"]);
      expect(entry!.attempts).toBe(0);
      expect(entry!.lease.until).toBe(T0 + HOUR);
      expect(entry!.body.inMemory).toEqual(SMALL);
      expect(await readBody(entry!)).toEqual(SMALL);
      expect(await store.leaseDue(hop("one.test"), 10, T0 + 1, T0 + HOUR)).toEqual([]);
      expect(await store.findDueNextHops(T0, 10)).toEqual([{ nextHop: "two.test", due: 1 }]);
      const [later] = (await store.admin.list({ nextHop: "one.test" }, { limit: 10 })).entries;
      expect(later).toMatchObject({ state: "active", attempts: 1 });
    });

    test("keeps everything that was said about message and recipients", async () => {
      const { store, reopen } = await open();
      const message: NewMessage = {
        ...newMessage(store),
        sender: "",
        recipients: [
          {
            address: address("böb@dane.test"),
            nextHop: hop("dane.test"),
            notify: { never: false, success: true, failure: false, delay: true },
            originalRecipient: "rfc822;B+2Bb@dane.test",
          },
          {
            address: address("eve@dane.test"),
            nextHop: hop("dane.test"),
            notify: { never: true, success: false, failure: false, delay: false },
          },
          { address: address('"a b"@dane.test'), nextHop: hop("dane.test") },
        ],
        origin: {
          submitter: "user:app",
          listener: "tls",
          clientAddress: "2001:db8::1",
          ehloName: "app.test",
          user: "app",
          tls: "TLSv1.3 X",
        },
        returnContent: "headers",
        envelopeId: "QQ314159",
        tlsTag: "required",
        needs: { eightBit: true, utf8Headers: true },
        messageId: "<1@app.test>",
      };
      const body = store.newBody();
      await body.write(Buffer.from(SMALL));
      await store.enqueue(message, body, NO_LEASE);
      const again = await reopen();
      const entry = await leaseOne(again, "dane.test");
      const { recipients, ...facts } = message;
      expect(entry.message).toEqual(facts);
      expect(entry.recipients).toEqual(recipients.map((recipient) => ({ ...recipient, recipientId: expect.any(Number) })));
      expect(new Set(entry.recipients.map(({ recipientId }) => recipientId)).size).toBe(3);
      expect((await again.admin.story(message.id))?.message).toEqual(facts);
    });

    test.each(["required", "optional", undefined] as const)(
      "the TLS tag %s comes back with each lease and in the story, and no other does (RFC 8689 §4.1)",
      async (tlsTag) => {
        const { store, reopen } = await open();
        const to = ["a@one.test", "b@one.test", "c@two.test"];
        const message: NewMessage = { ...newMessage(store, { to }), ...(tlsTag !== undefined && { tlsTag }) };
        const body = store.newBody();
        await body.write(Buffer.from(SMALL));
        const [first] = await store.enqueue(message, body, { leaseNow: (nextHop) => nextHop === "one.test", leaseUntil: T0 + HOUR });
        expect(first?.message.tlsTag).toBe(tlsTag);
        const again = await reopen();
        for (const nextHop of ["one.test", "two.test"]) {
          const { message: leased } = await leaseOne(again, nextHop);
          expect([leased.tlsTag, "tlsTag" in leased]).toEqual([tlsTag, tlsTag !== undefined]);
        }
        expect((await again.admin.story(message.id))?.message.tlsTag).toBe(tlsTag);
      },
    );

    test("a notice keeps its TLS tag", async () => {
      const { store, reopen } = await open();
      const { leased } = await submit(store, { lease: true });
      const notice = { ...newMessage(store, { from: "", to: ["alice@sender.test"], submitter: "local" }), tlsTag: "required" } as const;
      const settlement = { ...settlementOf(leased[0]!, [FAILED]), notices: [{ message: notice, body: SMALL }] };
      await store.saveSettlement(leased[0]!.lease, settlement, NO_LEASE);
      expect((await leaseOne(await reopen(), "sender.test")).message.tlsTag).toBe("required");
    });

    test.each([0, 1, 2048, 131_072, 131_073, 3_000_000])("gives a body of %i octets back as it came", async (size) => {
      const { store, reopen } = await open();
      const body = Buffer.alloc(size);
      for (let at = 0; at < size; at++) body[at] = (at * 31 + (at >> 8)) & 255;
      const { leased } = await submit(store, { body, lease: true });
      expect((await readBody(leased[0]!)).equals(body)).toBe(true);
      expect(leased[0]!.body.inMemory !== undefined).toBe(size <= 131_072);
      const later = await leaseOne(await reopen(), "dane.test");
      expect(later.body.size).toBe(size);
      expect((await readBody(later)).equals(body)).toBe(true);
    });

    test("takes bodies in pieces of any size, also slices of a larger buffer", async () => {
      const { store } = await open();
      const octets = Buffer.from("The quick brown fox\r\n".repeat(30_000));
      const message = newMessage(store, { body: octets });
      const body = store.newBody();
      for (let at = 0, step = 1; at < octets.length; at += step, step = (step * 7 + 3) % 9000 || 1)
        await body.write(octets.subarray(at, at + step));
      expect(body.size).toBe(octets.length);
      const [entry] = await store.enqueue(message, body, { leaseNow: () => true, leaseUntil: T0 + HOUR });
      expect((await readBody(entry!)).equals(octets)).toBe(true);
    });

    test("refuses a body whose size is not the message's", async () => {
      const { store } = await open();
      const body = store.newBody();
      await body.write(Buffer.from("short"));
      await expect(store.enqueue(newMessage(store), body, NO_LEASE)).rejects.toThrow(/octets/);
    });

    test("an abandoned body leaves nothing, whenever it is abandoned", async () => {
      const { store } = await open();
      const early = store.newBody();
      await early.write(Buffer.alloc(1_000_000));
      early.abandon();
      early.abandon();
      const late = store.newBody();
      await late.write(Buffer.from(SMALL));
      const message = newMessage(store);
      await store.enqueue(message, late, NO_LEASE);
      late.abandon();
      expect(await readBody(await leaseOne(store, "dane.test"))).toEqual(SMALL);
    });
  });

  describe(`${name}: leases`, () => {
    test("an entry is leased once; two askers never get the same", async () => {
      const { store } = await open();
      for (let n = 0; n < 10; n++) await submit(store);
      const got = (await Promise.all(Array.from({ length: 4 }, () => store.leaseDue(hop("dane.test"), 5, T0, T0 + HOUR)))).flat();
      expect(got).toHaveLength(10);
      expect(new Set(got.map(({ lease }) => lease.entryId)).size).toBe(10);
    });

    test("nothing is leased before it is due, nor for another next hop", async () => {
      const { store } = await open();
      await submit(store, { receivedAt: T0 });
      expect(await store.leaseDue(hop("dane.test"), 5, T0 - 1, T0 + HOUR)).toEqual([]);
      expect(await store.leaseDue(hop("other.test"), 5, T0, T0 + HOUR)).toEqual([]);
      expect(await store.leaseDue(hop("dane.test"), 0, T0, T0 + HOUR)).toEqual([]);
      expect(await store.leaseDue(hop("dane.test"), 5, T0, T0 + HOUR)).toHaveLength(1);
    });

    test("submitters take turns, oldest first within each", async () => {
      const { store } = await open();
      for (let n = 0; n < 30; n++) await submit(store, { submitter: "user:flood", from: `f${n}@sender.test`, receivedAt: T0 + n });
      for (const name of ["user:a", "user:z"])
        for (let n = 2; n > 0; n--)
          await submit(store, { submitter: name, from: `${name.at(-1)}${n}@sender.test`, receivedAt: T0 + 100 + n });
      const first = await store.leaseDue(hop("dane.test"), 6, T0 + 500, T0 + HOUR);
      expect(first.map(({ message }) => message.sender.split("@")[0])).toEqual(["a1", "f0", "z1", "a2", "f1", "z2"]);
      const rest = await store.leaseDue(hop("dane.test"), 3, T0 + 500, T0 + HOUR);
      expect(rest.map(({ message }) => message.sender.split("@")[0])).toEqual(["f2", "f3", "f4"]);
    });

    test("turns go on where they stopped, even one at a time", async () => {
      const { store } = await open();
      for (const submitter of ["user:a", "user:b", "user:c"]) for (let n = 0; n < 3; n++) await submit(store, { submitter });
      const served: string[] = [];
      for (let n = 0; n < 6; n++) served.push((await leaseOne(store, "dane.test")).message.origin.submitter);
      expect(served).toEqual(["user:a", "user:b", "user:c", "user:a", "user:b", "user:c"]);
    });

    test("a submitter with a few due among many without gets its turn", async () => {
      const { store } = await open();
      await Promise.all(
        Array.from({ length: 600 }, (_, n) =>
          submit(store, { submitter: `net:${n}`, receivedAt: T0 + (n === 450 || n === 10 ? 0 : HOUR) }),
        ),
      );
      const submitters: string[] = [];
      for (let n = 0; n < 2; n++)
        for (const entry of await store.leaseDue(hop("dane.test"), 5, T0 + 1, T0 + HOUR)) submitters.push(entry.message.origin.submitter);
      expect(submitters.toSorted()).toEqual(["net:10", "net:450"]);
    });

    test("a released lease is due at its time and its attempt is not counted", async () => {
      const { store } = await open();
      await submit(store);
      const entry = await leaseOne(store, "dane.test");
      await store.releaseLeases([entry.lease], T0 + 5000);
      expect(await store.findNextDue()).toBe(T0 + 5000);
      const again = await leaseOne(store, "dane.test", T0 + 5000);
      expect(again.attempts).toBe(0);
      expect(again.lease.generation).toBeGreaterThan(entry.lease.generation);
      await store.releaseLeases([], T0);
    });

    test("a lease that ran out is due again; who had it then changes nothing once another has it", async () => {
      const { store, clock } = await open();
      await submit(store);
      const slow = await leaseOne(store, "dane.test", T0, T0 + 60_000);
      clock.pass(50_000);
      expect(await store.findDueNextHops(T0 + 50_000, 10)).toEqual([]);
      clock.pass(10_000);
      expect(await store.findDueNextHops(T0 + 60_000, 10)).toEqual([{ nextHop: "dane.test", due: 1 }]);
      const next = await leaseOne(store, "dane.test", T0 + 60_000);
      expect(await store.saveSettlement(slow.lease, settlementOf(slow, [FAILED]), NO_LEASE)).toBe("lease-lost");
      await store.releaseLeases([slow.lease], T0);
      expect(await store.leaseDue(hop("dane.test"), 1, T0 + 60_001, T0 + HOUR)).toEqual([]);
      expect(await store.saveSettlement(next.lease, settlementOf(next, [DELIVERED]), NO_LEASE)).toEqual([]);
    });

    test("a lease that ran out and that nobody took may still settle: better late than twice", async () => {
      const { store, clock } = await open();
      await submit(store);
      const slow = await leaseOne(store, "dane.test", T0, T0 + 1000);
      clock.pass(2000);
      expect(await store.findDueNextHops(T0 + 2000, 10)).toHaveLength(1);
      expect(await store.saveSettlement(slow.lease, settlementOf(slow, [DELIVERED]), NO_LEASE)).toEqual([]);
      expect(await store.findNextDue()).toBeUndefined();
    });

    test("a clock that jumps ends no lease: whoever has it is still at it, and nobody else may be (RFC 5321 §6.1)", async () => {
      const { store, clock } = await open();
      await submit(store);
      const busy = await leaseOne(store, "dane.test", T0, T0 + HOUR);
      clock.time += 30 * DAY;
      expect(await store.findDueNextHops(clock.time, 10)).toEqual([]);
      expect(await store.leaseDue(hop("dane.test"), 1, clock.time, clock.time + HOUR)).toEqual([]);
      expect(await store.saveSettlement(busy.lease, settlementOf(busy, [DELIVERED]), NO_LEASE)).toEqual([]);
    });

    test("a clock that was set back does not keep an entry whose lease ran out", async () => {
      const { store, clock } = await open();
      await submit(store);
      await leaseOne(store, "dane.test", T0, T0 + HOUR);
      clock.time -= DAY;
      clock.pass(HOUR);
      expect(await store.findDueNextHops(clock.time, 10)).toEqual([{ nextHop: "dane.test", due: 1 }]);
    });

    test("leases of a former process are void: what was under way is due at once", async () => {
      const { store, clock, reopen } = await open();
      const { leased } = await submit(store, { lease: true });
      clock.time += 60_000;
      const again = await reopen();
      expect(await again.findNextDue()).toBe(T0 + 60_000);
      const entry = await leaseOne(again, "dane.test", T0 + 60_000);
      expect(entry.attempts).toBe(1);
      expect(await again.saveSettlement(leased[0]!.lease, settlementOf(entry, [FAILED]), NO_LEASE)).toBe("lease-lost");
    });

    test("an overdue entry is leased once, however long the clock jumped (RFC 5321 §4.5.4.1)", async () => {
      const { store } = await open();
      await submit(store);
      expect(await store.leaseDue(hop("dane.test"), 10, T0 + 3 * DAY, T0 + 4 * DAY)).toHaveLength(1);
      expect(await store.leaseDue(hop("dane.test"), 10, T0 + 3 * DAY, T0 + 4 * DAY)).toEqual([]);
    });
  });

  describe(`${name}: what is due`, () => {
    test("next hops come with numbers, those due longest first, at most so many", async () => {
      const { store } = await open();
      await submit(store, { to: ["a@late.test"], receivedAt: T0 + 300 });
      await submit(store, { to: ["a@early.test"], receivedAt: T0 + 100 });
      await submit(store, { to: ["a@middle.test"], receivedAt: T0 + 200 });
      await submit(store, { to: ["a@early.test"], submitter: "user:other", receivedAt: T0 + 400 });
      await submit(store, { to: ["a@future.test"], receivedAt: T0 + HOUR });
      expect(await store.findDueNextHops(T0 + 500, 10)).toEqual([
        { nextHop: "early.test", due: 2 },
        { nextHop: "middle.test", due: 1 },
        { nextHop: "late.test", due: 1 },
      ]);
      expect((await store.findDueNextHops(T0 + 500, 2)).map(({ nextHop }) => nextHop)).toEqual(["early.test", "middle.test"]);
      expect(await store.findNextDue()).toBe(T0 + 100);
    });

    test("an empty queue has nothing due", async () => {
      const { store } = await open();
      expect(await store.findDueNextHops(T0, 10)).toEqual([]);
      expect(await store.findNextDue()).toBeUndefined();
      expect(await store.admin.totals()).toEqual({ waiting: 0, active: 0 });
    });

    test("a destination is postponed as one, spread between two times, leased entries left alone", async () => {
      const { store } = await open();
      for (let n = 0; n < 40; n++) await submit(store, { submitter: `user:${n % 3}` });
      const dialled = await leaseOne(store, "dane.test");
      await submit(store, { to: ["a@other.test"] });
      const [from, to] = [T0 + HOUR, T0 + 2 * HOUR];
      expect(await store.postponeDestination(hop("dane.test"), from, to, problem("destination-waiting"))).toBe(39);
      expect(await store.findDueNextHops(T0 + HOUR - 1, 10)).toEqual([{ nextHop: "other.test", due: 1 }]);
      const { entries } = await store.admin.list({ nextHop: "dane.test", state: "waiting" }, { limit: 100 });
      const dues = entries.map(({ nextAttempt }) => nextAttempt!);
      expect(Math.min(...dues)).toBeGreaterThanOrEqual(from);
      expect(Math.max(...dues)).toBeLessThanOrEqual(to);
      expect(new Set(dues).size).toBeGreaterThan(20);
      expect(entries.every((entry) => entry.problem?.type === "destination-waiting")).toBe(true);
      expect(await store.saveSettlement(dialled.lease, settlementOf(dialled, [DELIVERED]), NO_LEASE)).toEqual([]);
    });

    test("a postponed entry is due at its expiry if that comes first, and one that expired stays due", async () => {
      const { store } = await open();
      const soon = await submit(store, { expiresAt: T0 + 60_000 });
      const over = await submit(store, { receivedAt: T0 - DAY, expiresAt: T0 - 1 });
      expect(await store.postponeDestination(hop("dane.test"), T0 + HOUR, T0 + 2 * HOUR, problem("destination-waiting"))).toBe(1);
      const due = async (id: NewMessage["id"]) => (await store.admin.list({ ids: [id] }, { limit: 1 })).entries[0]?.nextAttempt;
      expect(await due(soon.message.id)).toBe(T0 + 60_000);
      expect(await due(over.message.id)).toBe(T0 - DAY);
    });
  });

  describe(`${name}: settlements`, () => {
    test("state is kept per recipient: only those who wait are leased again (RFC 5321 §4.2.5)", async () => {
      const { store, reopen } = await open();
      const { message } = await submit(store, { to: ["a@dane.test", "b@dane.test", "c@dane.test"] });
      const entry = await leaseOne(store, "dane.test");
      expect(await store.saveSettlement(entry.lease, settlementOf(entry, [DELIVERED, WAITING, FAILED], T0 + 300_000), NO_LEASE)).toEqual(
        [],
      );
      const again = await reopen();
      expect(await again.findNextDue()).toBe(T0 + 300_000);
      const later = await leaseOne(again, "dane.test", T0 + 300_000);
      expect(later.recipients.map((recipient) => recipient.address)).toEqual(["b@dane.test"]);
      expect(later.attempts).toBe(1);
      expect(await readBody(later)).toEqual(SMALL);
      expect(await again.saveSettlement(later.lease, settlementOf(later, [DELIVERED]), NO_LEASE)).toEqual([]);
      const story = await again.admin.story(message.id);
      expect(story?.entries[0]).toMatchObject({ state: "finished", attempts: 2 });
      expect(story?.entries[0]?.recipients.map(({ address: to, state }) => `${to} ${state}`)).toEqual([
        "a@dane.test delivered",
        "b@dane.test delivered",
        "c@dane.test failed",
      ]);
      expect(story?.entries[0]?.recipients[0]?.outcome).toEqual(DELIVERED);
      expect(story?.entries[0]?.attemptRecords).toEqual([attempt(T0 + 1000, problem()), attempt()]);
    });

    test("a settlement with a stale lease changes nothing at all", async () => {
      const { store } = await open();
      const { message } = await submit(store);
      const entry = await leaseOne(store, "dane.test");
      await store.releaseLeases([entry.lease], T0);
      const before = await store.admin.story(message.id);
      const notice = { message: { ...newMessage(store, { from: "", to: ["alice@sender.test"], submitter: "local" }) }, body: SMALL };
      expect(await store.saveSettlement(entry.lease, { ...settlementOf(entry, [DELIVERED]), notices: [notice] }, NO_LEASE)).toBe(
        "lease-lost",
      );
      expect(await store.saveSettlement(entry.lease, settlementOf(entry, [WAITING], T0 + DAY), NO_LEASE)).toBe("lease-lost");
      expect(await store.admin.story(message.id)).toEqual(before);
      expect(await store.admin.story(notice.message.id)).toBeUndefined();
    });

    test("a settlement is saved once", async () => {
      const { store } = await open();
      const { leased } = await submit(store, { lease: true });
      const [entry] = leased;
      const both = await Promise.all([1, 2].map(() => store.saveSettlement(entry!.lease, settlementOf(entry!, [DELIVERED]), NO_LEASE)));
      expect(both).toEqual([[], "lease-lost"]);
    });

    test("who would be lost with a settlement makes it fail, and nothing is changed", async () => {
      const { store } = await open();
      const { message } = await submit(store, { to: ["a@dane.test", "b@dane.test"] });
      const entry = await leaseOne(store, "dane.test");
      const before = await store.admin.story(message.id);
      const whole = settlementOf(entry, [DELIVERED]);
      await expect(store.saveSettlement(entry.lease, { ...whole, recipients: whole.recipients.slice(0, 1) }, NO_LEASE)).rejects.toThrow(
        /recipients waiting/,
      );
      await expect(store.saveSettlement(entry.lease, settlementOf(entry, [WAITING]), NO_LEASE)).rejects.toThrow(/recipients waiting/);
      await expect(store.saveSettlement(entry.lease, settlementOf(entry, [DELIVERED], T0 + DAY), NO_LEASE)).rejects.toThrow(
        /recipients waiting/,
      );
      expect(await store.admin.story(message.id)).toEqual(before);
      expect(store.trouble()).toBeUndefined();
      expect(await store.saveSettlement(entry.lease, whole, NO_LEASE)).toEqual([]);
    });

    test("a failure and its notice are one fact (RFC 5321 §6.1)", async () => {
      const { store, reopen } = await open();
      await submit(store);
      const entry = await leaseOne(store, "dane.test");
      const body = Buffer.from("Subject: failed\r\n\r\nIt failed.\r\n");
      const notice = { message: newMessage(store, { from: "", to: ["alice@sender.test"], submitter: "local", body }), body };
      const leased = await store.saveSettlement(
        entry.lease,
        { ...settlementOf(entry, [FAILED]), notices: [notice] },
        { leaseNow: () => true, leaseUntil: T0 + HOUR },
      );
      if (leased === "lease-lost") throw new Error("lease lost");
      expect(leased.map((one) => one.message.id)).toEqual([notice.message.id]);
      expect(await readBody(leased[0]!)).toEqual(body);
      const again = await reopen();
      const found = await leaseOne(again, "sender.test");
      expect(found.message.sender).toBe("");
      expect(await readBody(found)).toEqual(body);
    });

    test.each([SMALL.length, 700_000])("a body of %i octets stays until the message's last entry is settled", async (size) => {
      const { store } = await open();
      const octets = Buffer.alloc(size, "y");
      await submit(store, { to: ["a@one.test", "b@two.test"], body: octets });
      const one = await leaseOne(store, "one.test");
      await store.saveSettlement(one.lease, settlementOf(one, [DELIVERED]), NO_LEASE);
      const two = await leaseOne(store, "two.test");
      expect((await readBody(two)).equals(octets)).toBe(true);
      await store.saveSettlement(two.lease, settlementOf(two, [DELIVERED]), NO_LEASE);
      expect(await store.findNextDue()).toBeUndefined();
    });
  });

  describe(`${name}: what people ask`, () => {
    test("lists by every filter, in pages, without gaps or repetition", async () => {
      const { store } = await open();
      for (let n = 0; n < 25; n++)
        await submit(store, {
          from: n % 2 === 0 ? "Even@Sender.test" : "odd@sub.sender.test",
          to: [`r${n}@d${n % 3}.test`],
          receivedAt: T0 + n * 1000,
        });
      await submit(store, { from: "", to: ["x@d0.test", "y@d1.test"], receivedAt: T0 + 99_000, lease: true });
      const count = async (filter: Parameters<typeof store.admin.list>[0]) =>
        (await store.admin.list(filter, { limit: 100 })).entries.length;
      expect(await count({})).toBe(27);
      expect(await count({ from: "even@sender.test" })).toBe(13);
      expect(await count({ from: "*@sub.sender.test" })).toBe(12);
      expect(await count({ from: "sender.test" })).toBe(13);
      expect(await count({ from: "<>" })).toBe(2);
      expect(await count({ to: "r3@d0.test" })).toBe(1);
      expect(await count({ to: "d1.test" })).toBe(9);
      expect(await count({ nextHop: "d2.test" })).toBe(8);
      expect(await count({ state: "active" })).toBe(2);
      expect(await count({ state: "waiting" })).toBe(25);
      expect(await count({ state: "finished" })).toBe(0);
      expect(await count({ receivedBefore: T0 + 5000 })).toBe(5);
      expect(await count({ reason: "connect-failed" })).toBe(0);
      expect(await count({ to: "d1.test", from: "even@sender.test" })).toBe(4);
      expect(await count({ from: "nobody.test" })).toBe(0);
      const seen: string[] = [];
      let after: string | undefined;
      do {
        const page = await store.admin.list({}, { limit: 4, ...(after !== undefined && { after }) });
        seen.push(...page.entries.map((entry) => `${entry.id} ${entry.nextHop}`));
        after = page.next;
      } while (after !== undefined);
      expect(seen).toHaveLength(27);
      expect(new Set(seen).size).toBe(27);
      const { ids } = { ids: seen.slice(3, 6).map((line) => line.slice(0, 10) as NewMessage["id"]) };
      expect((await store.admin.list({ ids }, { limit: 10 })).entries.map(({ id }) => id)).toEqual(ids);
    });

    test("finished messages are listed when asked for, in pages", async () => {
      const { store } = await open();
      for (let n = 0; n < 5; n++) {
        const { leased } = await submit(store, { to: ["a@one.test", "b@two.test"], lease: true });
        for (const entry of leased)
          if (n > 0 || entry.nextHop === "one.test")
            await store.saveSettlement(entry.lease, settlementOf(entry, [entry.nextHop === "two.test" ? FAILED : DELIVERED]), NO_LEASE);
      }
      const seen: string[] = [];
      let after: string | undefined;
      do {
        const page = await store.admin.list({ state: "finished" }, { limit: 2, ...(after !== undefined && { after }) });
        for (const entry of page.entries) {
          expect(entry).toMatchObject({ state: "finished", attempts: 1 });
          expect(entry.problem?.type).toBe(entry.nextHop === "two.test" ? "rejected" : undefined);
          seen.push(`${entry.id} ${entry.nextHop}`);
        }
        after = page.next;
      } while (after !== undefined);
      expect(seen).toHaveLength(9);
      expect(new Set(seen).size).toBe(9);
      expect((await store.admin.list({ state: "finished", reason: "rejected" }, { limit: 10 })).entries).toHaveLength(4);
      expect((await store.admin.list({}, { limit: 10 })).entries).toHaveLength(1);
    });

    test("an entry tells its last problem and its next try", async () => {
      const { store } = await open();
      const { message } = await submit(store);
      const entry = await leaseOne(store, "dane.test");
      await store.saveSettlement(entry.lease, settlementOf(entry, [WAITING], T0 + 300_000), NO_LEASE);
      const [line] = (await store.admin.list({ reason: "connect-failed" }, { limit: 10 })).entries;
      expect(line).toEqual({
        id: message.id,
        state: "waiting",
        sender: "alice@sender.test",
        recipients: [{ address: "bob@dane.test", state: "waiting", outcome: WAITING }],
        nextHop: "dane.test",
        size: SMALL.length,
        receivedAt: T0,
        attempts: 1,
        nextAttempt: T0 + 300_000,
        expiresAt: T0 + 5 * DAY,
        problem: problem(),
      });
      expect(await store.admin.story("0000000000" as NewMessage["id"])).toBeUndefined();
      expect(await store.admin.story("nonsense" as NewMessage["id"])).toBeUndefined();
    });

    test("destinations come by number of messages, with ages and their most common reason", async () => {
      const { store } = await open();
      const minutes = [1, 10, 60, 200, 1000, 2000, 2000];
      for (const age of minutes) await submit(store, { to: ["a@big.test"], receivedAt: T0 - age * 60_000 });
      await submit(store, { to: ["a@small.test"] });
      for (const type of ["rejected", "timeout", "timeout"] as const) {
        const entry = await leaseOne(store, "big.test");
        await store.saveSettlement(entry.lease, settlementOf(entry, [{ kind: "waiting", problem: problem(type) }], T0 + DAY), NO_LEASE);
      }
      const [big, small] = await store.admin.destinations(T0, 10);
      expect(big).toEqual({
        nextHop: "big.test",
        messages: 7,
        oldest: T0 - 2000 * 60_000,
        nextAttempt: T0 - 200 * 60_000,
        ages: [1, 1, 1, 1, 1, 2],
        problem: problem("timeout"),
      });
      expect(small).toMatchObject({ nextHop: "small.test", messages: 1, nextAttempt: T0 });
      expect(await store.admin.destinations(T0, 1)).toHaveLength(1);
      expect(await store.admin.countByReason()).toEqual([
        { type: "timeout", entries: 2 },
        { type: "rejected", entries: 1 },
      ]);
    });

    test("totals tell what waits and what is under way", async () => {
      const { store } = await open();
      await submit(store, { receivedAt: T0 - 5000 });
      await submit(store);
      await leaseOne(store, "dane.test");
      expect(await store.admin.totals()).toEqual({ waiting: 1, active: 1, oldest: T0 - 5000, nextAttempt: T0 });
    });

    test("retry makes matching entries due now and tells which next hops", async () => {
      const { store } = await open();
      for (const to of ["a@one.test", "b@two.test", "c@three.test"]) await submit(store, { to: [to], receivedAt: T0 + DAY });
      await submit(store, { to: ["d@one.test"], lease: true });
      expect(await store.admin.retryNow({ to: "three.test" }, T0)).toEqual({ entries: 1, nextHops: ["three.test"] });
      expect(await store.admin.retryNow({}, T0)).toMatchObject({ entries: 3 });
      expect((await store.findDueNextHops(T0, 10)).map(({ nextHop }) => nextHop).toSorted()).toEqual([
        "one.test",
        "three.test",
        "two.test",
      ]);
    });

    test("finished messages are forgotten in time, others never", async () => {
      const { store } = await open();
      const settle = async (endedAt: number) => {
        const { message, leased } = await submit(store, { lease: true });
        await store.saveSettlement(leased[0]!.lease, settlementOf(leased[0]!, [DELIVERED], undefined, endedAt), NO_LEASE);
        return message.id;
      };
      const old = await settle(T0 + 1000);
      const young = await settle(T0 + 2 * DAY);
      const { message: waiting } = await submit(store);
      expect(await store.admin.forgetFinished(T0 + DAY)).toBe(1);
      expect(await store.admin.story(old)).toBeUndefined();
      expect(await store.admin.story(young)).toBeDefined();
      expect(await store.admin.story(waiting.id)).toBeDefined();
      expect(await store.admin.forgetFinished(T0 + DAY)).toBe(0);
    });
  });

  describe(`${name}: users`, () => {
    test("are added, replaced, listed and removed", async () => {
      const { store, reopen } = await open();
      const app = { name: "app", passwordHash: "scrypt$1$2$3$a$b", maySendAs: ["a@one.test", "@two.test"], createdAt: T0 };
      await store.users.save(app);
      await store.users.save({ ...app, name: "zoe", maySendAs: [] });
      await store.users.save({ ...app, passwordHash: "other" });
      const again = await reopen();
      expect(await again.users.list()).toEqual([
        { ...app, passwordHash: "other" },
        { ...app, name: "zoe", maySendAs: [] },
      ]);
      expect(await again.users.remove("app")).toBe(true);
      expect(await again.users.remove("app")).toBe(false);
    });
  });

  describe(`${name}: MTA-STS policies (RFC 8461 §3.3)`, () => {
    const text = "version: STSv1\r\nmode: enforce\r\nmx: *.dane.test\r\nmax_age: 604800\r\n";
    const held = { id: "20260901T1", text, fetchedAt: T0, expires: T0 + 7 * DAY };
    const failed = {
      id: "20260902T1",
      at: T0 + HOUR,
      failures: 3,
      failure: { type: "sts-policy-invalid", detail: "no mode", whoActs: "receiver", code: "mode", served: "version: STSv1\nmx: a.test" },
    } as const;
    const domain = (name: string) => name as Domain;
    const kept = (name: string, more: Partial<KeptStsPolicy> = {}): KeptStsPolicy => ({
      policyDomain: domain(name),
      lastUsed: T0,
      ...more,
    });

    test.each<[what: string, KeptStsPolicy]>([
      ["a policy", kept("a.test", { policy: held })],
      ["a failed fetch", kept("a.test", { failure: failed })],
      ["a policy whose refresh failed", kept("a.test", { policy: held, failure: failed })],
      ["neither", kept("a.test")],
      [
        "a policy text of 64 KB with anything in it",
        kept("a.test", { policy: { ...held, text: `\0\r\n'";ü\u001b[2J${"x".repeat(65_500)}` } }),
      ],
    ])("%s comes back as it was saved, also after a restart", async (_what, policy) => {
      const { store, reopen } = await open();
      expect(await store.policies.findSts(domain("a.test"))).toBeUndefined();
      await store.policies.saveSts(policy);
      expect(await store.policies.findSts(domain("a.test"))).toEqual(policy);
      expect(await (await reopen()).policies.findSts(domain("a.test"))).toEqual(policy);
    });

    test("saving replaces the whole of it: a fetch that succeeds takes the failure away", async () => {
      const { store } = await open();
      await store.policies.saveSts(kept("a.test", { failure: failed }));
      await store.policies.saveSts(kept("a.test", { policy: held }));
      expect(await store.policies.findSts(domain("a.test"))).toEqual(kept("a.test", { policy: held }));
    });

    test("is forgotten once, and that lasts", async () => {
      const { store, reopen } = await open();
      await store.policies.saveSts(kept("a.test", { policy: held }));
      expect(await store.policies.forgetSts(domain("a.test"))).toBe(true);
      expect(await store.policies.forgetSts(domain("a.test"))).toBe(false);
      expect(await (await reopen()).policies.findSts(domain("a.test"))).toBeUndefined();
    });

    test("are listed in order of the domain, in pages, each once", async () => {
      const { store } = await open();
      const names = Array.from({ length: 23 }, (_, n) => `d${String((n * 7) % 23).padStart(2, "0")}.test`);
      await Promise.all(names.map((name) => store.policies.saveSts(kept(name))));
      const seen: string[] = [];
      let after: string | undefined;
      do {
        const page = await store.policies.listSts({ limit: 5, ...(after !== undefined && { after }) });
        expect(page.policies.length).toBeLessThanOrEqual(5);
        seen.push(...page.policies.map(({ policyDomain }) => policyDomain));
        after = page.next;
      } while (after !== undefined);
      expect(seen).toEqual(names.toSorted());
    });

    test("what is larger than any policy or id may be is refused, and the rest goes on", async () => {
      const { store } = await open();
      const large = kept("large.test", { policy: { ...held, text: "x".repeat(65_537) } });
      await expect(store.policies.saveSts(large)).rejects.toThrow(/the policy of large\.test/);
      const named = kept("named.test", { failure: { ...failed, id: "x".repeat(33) } });
      await expect(store.policies.saveSts(named)).rejects.toThrow(/policy id of named\.test/);
      expect((await store.policies.listSts({ limit: 10 })).policies).toEqual([]);
      expect(store.trouble()).toBeUndefined();
    });

    test("what is said of a failure is clean and short", async () => {
      const { store } = await open();
      const detail = `\u001b[2J${"y".repeat(5000)}`;
      await store.policies.saveSts(kept("a.test", { failure: { ...failed, failure: { ...failed.failure, detail } } }));
      const found = (await store.policies.findSts(domain("a.test")))?.failure?.failure.detail;
      expect(found).toMatch(/^\?\[2Jy+…$/);
      expect(found).toHaveLength(1000);
    });
  });

  describe(`${name}: next hops with DANE (RFC 7672)`, () => {
    test("the latest time is kept, in whatever order they come, also after a restart", async () => {
      const { store, reopen } = await open();
      expect(await store.policies.findDane(hop("dane.test"))).toBeUndefined();
      await store.policies.noteDane(hop("dane.test"), T0 + HOUR);
      await store.policies.noteDane(hop("dane.test"), T0);
      await store.policies.noteDane(hop("[192.0.2.1]"), T0);
      const again = await reopen();
      expect(await again.policies.findDane(hop("dane.test"))).toBe(T0 + HOUR);
      await again.policies.noteDane(hop("dane.test"), T0 + DAY);
      expect(await again.policies.findDane(hop("dane.test"))).toBe(T0 + DAY);
      expect(await again.policies.findDane(hop("[192.0.2.1]"))).toBe(T0);
      expect(await again.policies.findDane(hop("other.test"))).toBeUndefined();
    });
  });

  describe(`${name}: closing`, () => {
    test("finishes what is under way; later calls reject", async () => {
      const { store, reopen } = await open();
      const pending = submit(store, { lease: true });
      const { leased } = await pending;
      const settled = store.saveSettlement(leased[0]!.lease, settlementOf(leased[0]!, [WAITING], T0 + 5000), NO_LEASE);
      const enqueued = submit(store, { to: ["a@other.test"] });
      const again = await reopen();
      expect(await settled).toEqual([]);
      await enqueued;
      await expect(submit(store)).rejects.toThrow(/closed/);
      await expect(store.findNextDue()).rejects.toThrow(/closed/);
      await expect(store.probe()).rejects.toThrow(/closed/);
      expect(await again.findDueNextHops(T0 + 5000, 5)).toHaveLength(2);
    });

    test("a probe of a healthy store finds no trouble", async () => {
      const { store } = await open();
      await store.probe();
      expect(store.trouble()).toBeUndefined();
      expect(await store.freeSpace()).toBeGreaterThan(0);
    });
  });
}
