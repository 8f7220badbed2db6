/** Ways of stripping TLS on the way (RFC 3207 §6), each at a host that MTA-STS or DANE protects; the floor would let them pass. */
import type { Socket } from "node:net";
import { deferred, delivered, type Expected, type Scenario, type ScenarioGroup } from "../scenario.ts";
import type { ReceiverBehaviour } from "../world/receivers.ts";

const stripped = deferred("starttls-not-supported");
const broken = deferred("validation-failure");

const ehlo = (said: string): ReceiverBehaviour => ({
  answer: (heard, { underTls }) => (heard.startsWith("EHLO") && !underTls ? said : undefined),
});
const startTls = (said: string): ReceiverBehaviour => ({ answer: (heard) => (heard === "STARTTLS" ? said : undefined) });
const closing = (how: (socket: Socket) => void): ReceiverBehaviour => ({
  answer(heard, { socket }) {
    if (heard !== "STARTTLS") return undefined;
    how(socket);
    return null;
  },
});
const speaking = (octets: string | Buffer): ReceiverBehaviour => ({
  afterStartTls: (socket) => socket.once("data", () => socket.end(octets)),
});

const ways: [name: string, behaviour: ReceiverBehaviour, must: Expected, fault: string][] = [
  ["the keyword removed", { startTlsKeyword: "" }, stripped, "starttls-not-supported"],
  ["the keyword overwritten", { startTlsKeyword: "XXXXXXXA" }, stripped, "starttls-not-supported"],
  ["the keyword inside another", ehlo("250-mx.example.test\r\n250 X-STARTTLS\r\n"), stripped, "starttls-not-supported"],
  ["the keyword in the first line only", ehlo("250-STARTTLS\r\n250 PIPELINING\r\n"), stripped, "starttls-not-supported"],
  ["EHLO refused", ehlo("502 5.5.1 what?\r\n"), stripped, "starttls-not-supported"],
  ["501 to STARTTLS", startTls("501 5.5.4 syntax\r\n"), stripped, "starttls-not-supported/501"],
  ["250 to STARTTLS", startTls("250 fine\r\n"), stripped, "starttls-not-supported/250"],
  ["421 to STARTTLS", startTls("421 4.3.2 going down\r\n"), stripped, "starttls-not-supported/421"],
  ["closed at STARTTLS", closing((socket) => socket.end()), stripped, "starttls-not-supported/starttls-reset"],
  ["reset at STARTTLS", closing((socket) => socket.resetAndDestroy()), stripped, "starttls-not-supported/starttls-reset"],
  [
    "replies injected behind the 220",
    { injected: "250-mx.example.test\r\n250 PIPELINING\r\n" },
    broken,
    "validation-failure/starttls-injection",
  ],
  ["text in place of the ServerHello", speaking("250 2.0.0 already secure, go on\r\n"), broken, "validation-failure/*"],
  ["an alert in the handshake", speaking(Buffer.from([21, 3, 3, 0, 2, 2, 40])), broken, "validation-failure/alert-handshake-failure"],
  [
    "refused after the handshake of TLS 1.3",
    { demandsClientCertificate: true, tls: { minVersion: "TLSv1.3" } },
    broken,
    "validation-failure/alert-*",
  ],
];

export const downgrade: ScenarioGroup = {
  subject: "Downgrade",
  scenarios: ways.flatMap(([name, behaviour, must, fault]): Scenario[] => [
    {
      name: `${name}, at a host that MTA-STS protects`,
      section: "RFC 8461 §5",
      relay: "open",
      set(site, faulty) {
        site.use("plain").mx("mx", faulty ? behaviour : {});
        site.sts();
      },
      must,
      control: ["left alone", delivered("authenticated")],
      told: [`sts failed ${fault}`, "sts ok"],
    },
    {
      name: `${name}, at a host that DANE protects`,
      section: "RFC 7672 §2.2",
      relay: "open",
      set(site, faulty) {
        site.use("signed").daneMx("mx", faulty ? behaviour : {});
      },
      must,
      control: ["left alone", delivered("authenticated")],
      told: [`tlsa of mx failed ${fault}`, "tlsa of mx ok"],
    },
  ]),
};
