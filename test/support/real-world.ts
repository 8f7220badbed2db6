/**
 * A small world for whole-relay tests: a CA, a resolver that knows postfix.test and exim.test, a real Postfix and a real
 * Exim behind them with certificates for their MX names, and the relay in between, with a user and a certificate.
 */
import { createTestCa, type TestCa } from "./certificates.ts";
import { startDnsServer, type DnsServer } from "./dns-server.ts";
import { startExim } from "./exim.ts";
import { startPostfix, type RealReceiver } from "./postfix.ts";
import { merge, startRelay, type Relay, type RelayConfiguration } from "./relay.ts";
import { findFreePort } from "./temp.ts";

export interface RealWorld extends AsyncDisposable {
  readonly ca: TestCa;
  readonly dns: DnsServer;
  readonly postfix: RealReceiver;
  readonly exim: RealReceiver;
  readonly relay: Relay;
}

export const login = { user: "alice", password: "correct horse battery" };

const POSTFIX = "127.0.0.2";
const EXIM = "127.0.0.3";

export async function openRealWorld(configuration: RelayConfiguration = {}): Promise<RealWorld> {
  await using stack = new AsyncDisposableStack();
  const ca = await createTestCa();
  const port = await findFreePort([POSTFIX, EXIM]);
  const dns = await startDnsServer({
    "postfix.test": { MX: ["10 mx.postfix.test"] },
    "mx.postfix.test": { A: [POSTFIX] },
    "exim.test": { MX: ["10 mx.exim.test"] },
    "mx.exim.test": { A: [EXIM] },
  });
  stack.defer(() => dns.close());
  const own = await ca.issue({ names: ["relay.test", "localhost", "127.0.0.1"] });
  const receiver = async (name: string, address: string) => {
    const { certificateFile, keyFile } = await ca.issue({ names: [`mx.${name}.test`] });
    return { hostname: `mx.${name}.test`, domains: [`${name}.test`], address, port, certificateFile, keyFile };
  };
  const postfix = stack.use(await startPostfix(await receiver("postfix", POSTFIX)));
  const exim = stack.use(await startExim(await receiver("exim", EXIM)));
  const base = {
    submission: { certificateFile: own.certificateFile, keyFile: own.keyFile },
    users: [{ name: login.user, password: login.password }],
    delivery: { port },
    tls: { roots: ca.file },
    resolver: { servers: [dns.setting] },
  };
  const relay = stack.use(await startRelay({ configuration: merge(base, configuration) }));
  const kept = stack.move();
  return { ca, dns, postfix, exim, relay, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}
