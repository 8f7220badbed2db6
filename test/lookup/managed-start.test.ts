/** What is said of an unbound that ended: in its own words, and in ours where it cannot know the cause. */
import { describe, expect, test } from "vitest";
import { describeEnd } from "../../src/lookup/managed-start.ts";

const APPARMOR =
  /^unbound ended with code 1, for it may not use its files in \/data\/resolver; .*AppArmor .*: see docs\/resolver\.md#apparmor: /;

describe("unbound that may not use its files", () => {
  const cases: [line: string, refused: boolean][] = [
    ["error: Could not open /data/resolver/unbound.conf: Permission denied", true],
    ["error: unable to open root.key for reading: Permission denied", true],
    ["error: could not open autotrust file for writing, root.key.7-0: Permission denied", true],
    ["error: unable to open root.key for reading: No such file or directory", false],
    ["error: can't bind socket: Permission denied for 127.0.0.1 port 53", false],
    ["fatal error: could not open ports", false],
    ["fatal error: no luck", false],
  ];
  for (const [line, refused] of cases)
    test(`${line}: ${refused ? "AppArmor is named, and where the remedy stands" : "its words alone"}`, () => {
      const said = describeEnd("ended with code 1", [line, "fatal error: failed to setup modules"], "/data/resolver");
      if (refused) expect(said).toMatch(APPARMOR);
      else expect(said).toBe(`unbound ended with code 1: ${line}; fatal error: failed to setup modules`);
      expect(said).toContain(line);
    });
});

test("unbound that said nothing", () => expect(describeEnd("was ended by SIGKILL", [], "/data")).toBe("unbound was ended by SIGKILL"));
