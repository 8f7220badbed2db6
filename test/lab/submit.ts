/** Hands messages in over implicit TLS, one connection a relay, so that REQUIRETLS may be said (RFC 8689 §2). */
import { connect } from "node:tls";
import type { Relay } from "../support/relay.ts";
import { queueId, SmtpClient } from "../support/submit.ts";
import type { Site } from "./site.ts";

export const SENDER = "alice@sender.test";

export class Submitter {
  readonly #client: SmtpClient;

  private constructor(client: SmtpClient) {
    this.#client = client;
  }

  static async open(relay: Relay): Promise<Submitter> {
    const client = new SmtpClient(connect({ port: relay.port("submissions"), host: "127.0.0.1", rejectUnauthorized: false }));
    await client.reply();
    await client.command("EHLO client.test", "250");
    return new Submitter(client);
  }

  /** The queue id, or the reply that refused it. */
  async submit({ id, message, recipient }: Pick<Site, "id" | "message" | "recipient">): Promise<{ id: string } | { refused: string }> {
    const { requireTls = false, header = [], sender = SENDER } = message;
    const fields = [
      `From: ${SENDER}`,
      `To: ${recipient}`,
      `Subject: ${id}`,
      "Date: Tue, 24 Nov 2026 10:00:00 +0000",
      `Message-ID: <${id}@sender.test>`,
    ];
    const utf8 = /[^ -~]/.test(recipient) ? " SMTPUTF8" : "";
    try {
      await this.#client.command(`MAIL FROM:<${sender}>${requireTls ? " REQUIRETLS" : ""}${utf8}`, "250");
      await this.#client.command(`RCPT TO:<${recipient}>`, "250");
      await this.#client.command("DATA", "354");
      const content = `${[...fields, ...header].join("\r\n")}\r\n\r\nHello.\r\n`;
      return { id: queueId(await this.#client.command(`${content}.`, "250")) };
    } catch (error) {
      await this.#client.command("RSET", "250").catch(() => undefined);
      return { refused: error instanceof Error ? error.message : String(error) };
    }
  }

  close(): void {
    this.#client.close();
  }
}
