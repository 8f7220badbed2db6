/** Receiving hosts on port 25 of their own addresses, scripted by test/support/scripted-mx.ts, each writing down what it hears. */
import { createServer, type Server } from "node:net";
import type { IssuedCertificate } from "../../support/certificates.ts";
import { type MxBehaviour, MxConnection, type ReceivedMessage } from "../../support/scripted-mx.ts";

/** An honest behaviour changed in one place. The certificate of a scripted host, or null for none. */
export type ReceiverBehaviour = Omit<MxBehaviour, "certificate"> & {
  readonly certificate?: IssuedCertificate | null;
  /** Offers REQUIRETLS inside TLS (RFC 8689 §2). */
  readonly requireTls?: boolean;
};

export const EXTENSIONS = ["PIPELINING", "SIZE 50000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"];

export class Receiver implements AsyncDisposable {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly connections: MxConnection[] = [];
  /** May be changed while the lab runs. */
  behaviour: ReceiverBehaviour;
  #server: Server | undefined;

  constructor(name: string, address: string, behaviour: ReceiverBehaviour, port = 25) {
    this.name = name;
    this.address = address;
    this.behaviour = behaviour;
    this.port = port;
  }

  async open(): Promise<void> {
    const server = createServer({ noDelay: true }, (socket) => {
      this.connections.push(new MxConnection(socket, this.#scripted()));
    });
    await new Promise<void>((done, failed) => server.once("error", failed).listen(this.port, this.address, done));
    this.#server = server;
  }

  #scripted(): MxBehaviour {
    const { certificate, requireTls = false, ...rest } = this.behaviour;
    const { extensions = EXTENSIONS, tlsExtensions = extensions } = rest;
    return {
      ...rest,
      extensions,
      tlsExtensions: requireTls ? [...tlsExtensions, "REQUIRETLS"] : tlsExtensions,
      ...(certificate === null || certificate === undefined ? {} : { certificate }),
    };
  }

  get heard(): string[] {
    return this.connections.flatMap(({ heard }) => heard);
  }

  get messages(): ReceivedMessage[] {
    return this.connections.flatMap(({ messages }) => messages);
  }

  /** Everything that came in readable, as octets: before TLS. */
  get clearText(): string {
    return this.connections
      .filter(({ underTls }) => !underTls)
      .flatMap(({ reads }) => reads)
      .join("");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    for (const { socket } of this.connections) socket.destroy();
    await new Promise<void>((done) => server.close(() => done()));
  }
}
