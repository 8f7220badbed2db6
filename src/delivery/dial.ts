/**
 * The TCP connection under a session: an address in, a connected socket or the reason there is none out. The greeting
 * is not waited for here; whoever gets the socket must listen at once.
 */
import { connect, isIP, type Socket } from "node:net";
import type { Clock } from "../clock.ts";
import { cleanText } from "../mail/reply.ts";
import type { DeliveryProblem } from "../queue/settlement.ts";
import { problem } from "./problems.ts";
import type { SessionTarget } from "./session.ts";

const REASONS: Readonly<Record<string, readonly [text: string, whoActs: DeliveryProblem["whoActs"]]>> = {
  ECONNREFUSED: ["connection refused", "receiver"],
  ECONNRESET: ["connection reset", "receiver"],
  ETIMEDOUT: ["no answer", "receiver"],
  EHOSTUNREACH: ["no route to the host", "receiver"],
  ENETUNREACH: ["this machine has no route to that network", "you"],
  EADDRNOTAVAIL: ["this machine does not have the source address", "you"],
  EACCES: ["this machine forbids the connection", "you"],
  EPERM: ["this machine forbids the connection", "you"],
  EMFILE: ["this process has no file descriptor left", "you"],
};

/** `attach` runs in the very moment the connection stands, before anything can be read from it. */
export function dial<T>(target: SessionTarget, wait: number, clock: Clock, attach: (socket: Socket) => T): Promise<T | DeliveryProblem> {
  // A name here would be resolved by the system, past all the judgement that DNS answers get.
  if (isIP(target.address) === 0) throw new Error(`not an address: ${target.address}`);
  return new Promise((resolve) => {
    const { address, port, localAddress } = target;
    const socket = connect({
      host: address,
      port,
      noDelay: true,
      keepAlive: true,
      autoSelectFamily: false,
      ...(localAddress === undefined ? {} : { localAddress }),
    });
    const stopTimer = clock.after(wait, () => fail("ETIMEDOUT", "no answer"));
    const onError = (error: NodeJS.ErrnoException): void => fail(error.code ?? "", error.message);
    function fail(code: string, message: string): void {
      stopTimer();
      socket.on("error", () => undefined);
      socket.destroy();
      const [text, whoActs] = REASONS[code] ?? [cleanText(message, 200), "receiver" as const];
      resolve(problem("connect-failed", whoActs, `connect to ${address} port ${port}: ${text}`, { host: target.host }));
    }
    socket.once("error", onError);
    socket.once("connect", () => {
      stopTimer();
      const attached = attach(socket);
      socket.off("error", onError);
      resolve(attached);
    });
  });
}
