/** The end of a connection that the other side does not let end (RFC 5321 §3.8). */
import { type AddressInfo, connect, createServer } from "node:net";
import { expect, test } from "vitest";
import { Wire } from "../../../src/delivery/wire.ts";
import { MovedClock } from "../../support/moved-clock.ts";

test("a host that reads nothing cannot keep a closed connection, and its octets, for ever", async () => {
  const server = createServer((socket) => socket.pause().on("error", () => {}));
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  await new Promise<void>((connected) => socket.once("connect", connected));
  const clock = new MovedClock();
  const wire = new Wire(socket, clock);
  wire.write(Buffer.alloc(32 * 2 ** 20, "x"));
  wire.close();
  await new Promise(setImmediate);
  expect(socket.destroyed).toBe(false);
  await clock.pass(60_000);
  expect(socket.destroyed).toBe(true);
  await new Promise(setImmediate);
  expect(clock.armed).toBe(0);
  server.close();
});

test("one that reads hears all that was said, and leaves no timer behind", async () => {
  let heard = "";
  const server = createServer((socket) => socket.on("data", (octets) => (heard += octets.toString())));
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  await new Promise<void>((connected) => socket.once("connect", connected));
  const clock = new MovedClock();
  const wire = new Wire(socket, clock);
  wire.send("QUIT\r\n", 1);
  wire.close();
  await new Promise((closed) => socket.once("close", closed));
  expect(clock.armed).toBe(0);
  await new Promise<void>((closed) => server.close(() => closed()));
  expect(heard).toBe("QUIT\r\n");
});
