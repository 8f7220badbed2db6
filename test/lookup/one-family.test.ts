/** A host of which one address family answers and the other fails: mail goes by the one, and so does DANE (RFC 7672 §2.1.2). */
import { expect, test } from "vitest";
import { createFindTlsa } from "../../src/lookup/tlsa-lookup.ts";
import { domain, world } from "./world.ts";

const TLSA = [{ usage: 3, selector: 1, matchingType: 1, certificate: Buffer.alloc(32, 1) }];

for (const [answers, fails] of [
  ["A", "AAAA"],
  ["AAAA", "A"],
] as const)
  for (const secure of [true, false])
    test(`${answers} is ${secure ? "signed" : "not signed"}, ${fails} fails: that is the host's status`, async () => {
      const { dns } = await world(
        {
          "mx.test": {
            A: ["192.0.2.1"],
            AAAA: ["2001:db8::1"],
            secure,
            behave: { kind: "rcode", rcode: "SERVFAIL" },
            types: [fails],
          },
          "_25._tcp.mx.test": { TLSA, secure: true },
        },
        { attempts: 1, trustAdFrom: () => true },
      );
      const found = await dns.findAddresses(domain("mx.test"));
      expect(found).toMatchObject({
        kind: "answer",
        security: secure ? "secure" : "insecure",
        records: [{ family: answers === "A" ? 4 : 6 }],
      });
      expect(await createFindTlsa(dns)(domain("mx.test"), 25, found)).toMatchObject({ kind: secure ? "records" : "not-asked" });
    });
