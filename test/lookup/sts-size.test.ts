/** A policy that comes in chunks, whole and in time, is limited in size like any other (RFC 8461 §3.3). */
import { expect, test } from "vitest";
import { policyText, type RawAnswer } from "../support/policy-host.ts";
import { EXAMPLE, fetchWorld } from "./sts-world.ts";

const text = policyText();

for (const [octets, is] of [
  [65_536, true],
  [65_537, false],
] as const)
  test(`${octets} octets in chunks: ${is ? "read" : "no policy"}`, async () => {
    const policy = Buffer.from(`${text}x: `.padEnd(octets, "y"));
    const inChunks: RawAnswer = (_socket, _request, response) => {
      response.writeHead(200, { "content-type": "text/plain" });
      for (let at = 0; at < octets; at += 8_192) response.write(policy.subarray(at, at + 8_192));
      response.end();
    };
    const { host, fetch } = await fetchWorld();
    host.serve(EXAMPLE, inChunks);
    expect(await fetch(EXAMPLE)).toMatchObject({ ok: is });
  });
