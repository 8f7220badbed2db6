/**
 * The submitting end of a benchmark, a process of its own: C connections that pipeline MAIL, RCPT and DATA, as fast as
 * they are answered or at a steady rate. One message of `size` octets goes to `<SEQ@DOMAIN>`.
 */
import { connect, type Socket } from "node:net";
import { monotonic } from "./measure.ts";

export interface LoadOrder {
  readonly port: number;
  readonly messages: number;
  readonly size: number;
  readonly connections: number;
  /** Messages a second; 0 as fast as possible. */
  readonly rate: number;
  /** Sequence numbers start here. */
  readonly first: number;
  /** `d` or `dead`, and how many of them take turns. */
  readonly domain: string;
  readonly domains: number;
}

/** [sequence, begun, answered 250]; anything but 250 is in `refused`. */
export interface LoadReport {
  readonly accepted: [sequence: number, begun: number, answered: number][];
  readonly refused: string[];
}

function bodyOf(size: number): Buffer {
  const head =
    "From: bench@load.test\r\nTo: bench@d1.test\r\nSubject: load\r\nMessage-ID: <load@load.test>\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n\r\n";
  const line = `${"x".repeat(76)}\r\n`;
  return Buffer.from(`${head}${line.repeat(Math.max(1, Math.ceil((size - head.length) / line.length)))}.\r\n`, "latin1");
}

function submit(order: LoadOrder): Promise<LoadReport> {
  const report: LoadReport = { accepted: [], refused: [] };
  const body = bodyOf(order.size);
  const begun = monotonic();
  let next = 0;
  let left = order.messages;
  return new Promise((done, failed) => {
    const client = (socket: Socket) => {
      let sequence = -1;
      let at = 0;
      /** Replies still to come before the body may go, and the reply to the dot. */
      let waiting = 2;
      let text = "";
      const envelope = () => {
        if (next >= order.messages) {
          socket.end("QUIT\r\n");
          return;
        }
        const due = order.rate === 0 ? 0 : begun + (next / order.rate) * 1000 - monotonic();
        sequence = order.first + next;
        const domain = `${order.domain}${1 + (next % order.domains)}.test`;
        next += 1;
        const go = () => {
          at = monotonic();
          waiting = 4;
          socket.write(`MAIL FROM:<bench@load.test>\r\nRCPT TO:<${sequence}@${domain}>\r\nDATA\r\n`);
        };
        if (due > 1) setTimeout(go, due);
        else go();
      };
      const reply = (line: string) => {
        waiting -= 1;
        if (!/^[23]/.test(line) && report.refused.length < 20) report.refused.push(line);
        if (waiting === 1 && line.startsWith("220")) socket.write("EHLO load.test\r\n");
        else if (waiting === 1 && line.startsWith("354")) socket.write(body);
        else if (waiting === 0 || (waiting === 1 && sequence >= 0)) {
          if (sequence >= 0) {
            if (line.startsWith("250")) report.accepted.push([sequence, at, monotonic()]);
            left -= 1;
            if (left === 0) done(report);
          }
          envelope();
        }
      };
      socket.setNoDelay(true);
      socket.setEncoding("latin1").on("data", (chunk: string) => {
        text += chunk;
        for (let end = text.indexOf("\r\n"); end !== -1; end = text.indexOf("\r\n")) {
          const line = text.slice(0, end);
          text = text.slice(end + 2);
          if (line[3] !== "-") reply(line);
        }
      });
      socket.on("error", failed);
    };
    for (let k = 0; k < Math.min(order.connections, order.messages); k++) client(connect(order.port, "127.0.0.1"));
  });
}

process.on("message", (order: LoadOrder) => {
  submit(order).then(
    (report) => process.send?.(report),
    (error: unknown) => process.send?.({ accepted: [], refused: [String(error)] }),
  );
});
process.on("disconnect", () => process.exit());
