/** What all resolvers together are worth (RFC 7672 §2.1.1, RFC 4035 §4.9.3). */
import { describe, expect, test } from "vitest";
import { describeBelief, type Judged, MANAGED, type Source, summarise } from "../../src/lookup/resolver-state.ts";
import type { Belief } from "../../src/lookup/self-test.ts";

const at = (name: string, trusted = true): Source => ({ key: name, name, trusted, server: { address: name, port: 53 } });
const running: Source = {
  key: MANAGED,
  name: "managed (unbound at 127.0.0.1:5353)",
  trusted: true,
  server: { address: "127.0.0.1", port: 5353 },
};
const stopped: Source = { key: MANAGED, name: MANAGED, trusted: true };

const DETAILS: Readonly<Record<Belief, string>> = {
  validating: "validates",
  untested: "has not been tested yet",
  blind: "does not validate",
};

describe("the state of all together", () => {
  const cases: [resolvers: [Source, Belief][], kind: string, detail: string][] = [
    [[[running, "validating"]], "validating", "DANE is on: managed (unbound at 127.0.0.1:5353) validates"],
    [[[running, "untested"]], "untested", "managed (unbound at 127.0.0.1:5353) has not been tested yet"],
    // That it does not run is a failed look-up, and no change of the state.
    [[[stopped, "validating"]], "validating", "DANE is on: validates"],
    [[[stopped, "untested"]], "untested", "has not been tested yet"],
    // What it says then names its own remedy.
    [[[stopped, "blind"]], "blind", "DANE is off: does not validate"],
    [[[at("A"), "blind"]], "blind", "DANE is off: A does not validate; set resolver.servers: [managed], or make it validate"],
    [
      [
        [at("A"), "blind"],
        [at("B"), "blind"],
      ],
      "blind",
      "DANE is off: A does not validate; B does not validate; set resolver.servers: [managed], or make it validate",
    ],
    // One that validates is enough.
    [
      [
        [at("A"), "blind"],
        [at("B"), "untested"],
        [at("C"), "validating"],
      ],
      "validating",
      "DANE is on: C validates",
    ],
    // One of which nothing is known may yet: DANE is off only when all have been caught.
    [
      [
        [at("A"), "blind"],
        [at("B"), "untested"],
      ],
      "untested",
      "B has not been tested yet",
    ],
    // Who is not believed has no say, whatever a test would find.
    [
      [
        [at("A"), "blind"],
        [at("B", false), "validating"],
      ],
      "blind",
      "DANE is off: A does not validate; set resolver.servers: [managed], or make it validate",
    ],
    [
      [
        [at("A", false), "validating"],
        [at("B", false), "untested"],
      ],
      "untrusted",
      "DANE is off: no answer of A, B may be believed as DNSSEC; set resolver.servers: [managed], or list a validating resolver in resolver.validating",
    ],
  ];
  for (const [resolvers, kind, detail] of cases) {
    const what = resolvers.map(([source, belief]) => `${source.name}${source.trusted ? "" : " (not believed)"} ${belief}`).join(", ");
    test(`${what}: ${kind}`, () => {
      const beliefIn = (source: Source): Judged => {
        const [, belief = "untested" as const] = resolvers.find(([other]) => other === source) ?? [];
        return { belief, detail: DETAILS[belief] };
      };
      expect(
        summarise(
          resolvers.map(([source]) => source),
          beliefIn,
        ),
      ).toEqual({ kind, detail });
    });
  }
});

describe("one of them, for the status", () => {
  const cases: [what: string, source: Source, judged: Judged, process: string | undefined, expected: object][] = [
    [
      "tested",
      at("A"),
      { belief: "validating", detail: "validates", testedAt: 5 },
      undefined,
      { belief: "validating", detail: "validates", testedAt: 5 },
    ],
    [
      "not tested",
      at("A"),
      { belief: "untested", detail: "has not been tested yet" },
      undefined,
      { belief: "untested", detail: "has not been tested yet" },
    ],
    [
      "ours, with how it stands",
      running,
      { belief: "validating", detail: "validates", testedAt: 5 },
      "unbound asks the root servers",
      { belief: "validating", detail: "validates; unbound asks the root servers", testedAt: 5 },
    ],
    [
      "ours, where that is what is known of it",
      running,
      { belief: "untested", detail: "asks in vain: the root servers cannot be reached" },
      "the root servers cannot be reached",
      { belief: "untested", detail: "asks in vain: the root servers cannot be reached" },
    ],
    [
      "not believed",
      at("A", false),
      { belief: "untested", detail: "has not been tested yet" },
      undefined,
      { detail: "its AD bit is not believed: it is not listed in resolver.validating" },
    ],
  ];
  for (const [what, source, judged, process, expected] of cases)
    test(what, () => expect(describeBelief(source, judged, process)).toEqual(expected));
});

test("where validating resolvers are listed, and none of them is in use any more, that is blindness and nobody's choice", () => {
  const sources = [at("A", false)];
  const beliefIn = (): Judged => ({ belief: "untested", detail: "x" });
  expect(summarise(sources, beliefIn, true)).toEqual({
    kind: "blind",
    detail: "DANE is off: A is asked now, and none of resolver.validating",
  });
  expect(summarise(sources, beliefIn).kind).toBe("untrusted");
});
