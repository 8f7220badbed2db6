/** One question to one name server over UDP, for the lab's own look at what its servers say. */
import { createSocket } from "node:dgram";
import dnsPacket, { type DecodedPacket, type RecordType } from "dns-packet";

export function askServer(address: string, name: string, type: RecordType, limit = 1000): Promise<DecodedPacket> {
  const socket = createSocket("udp4");
  const query = dnsPacket.encode({
    type: "query",
    id: Math.floor(Math.random() * 65_536),
    flags: dnsPacket.RECURSION_DESIRED | dnsPacket.AUTHENTIC_DATA,
    questions: [{ type, name }],
    additionals: [
      {
        type: "OPT",
        name: ".",
        udpPayloadSize: 4096,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: dnsPacket.DNSSEC_OK,
        flag_do: true,
        options: [],
      },
    ],
  });
  return new Promise<DecodedPacket>((done, failed) => {
    const timer = setTimeout(() => failed(new Error(`${address} does not answer for ${name} ${type}`)), limit);
    socket.once("error", failed);
    socket.once("message", (message) => {
      clearTimeout(timer);
      done(dnsPacket.decode(message));
    });
    socket.send(query, 53, address);
  }).finally(() => socket.close());
}
