/**
 * Real clients, each asked for the same thing: this message, from here, to those, over such a connection. What they
 * print is kept for the failure's sake.
 */
import { spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import nodemailer from "nodemailer";

export type Connection = "plain" | "starttls" | "implicit";

export interface SubmissionOrder {
  readonly port: number;
  readonly connection: Connection;
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly content: Buffer;
  /** CA file (PEM). */
  readonly roots: string;
  readonly login?: { readonly user: string; readonly password: string };
  readonly smtpUtf8?: boolean;
  /** For files the client reads. */
  readonly folder: string;
}

export type Client = (order: SubmissionOrder) => Promise<void>;

function run(command: string, args: readonly string[], input?: string): Promise<void> {
  return new Promise((done, failed) => {
    const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, LC_ALL: "C.UTF-8" } });
    let output = "";
    const collect = (chunk: Buffer) => {
      output += chunk.toString();
    };
    child.stdout.on("data", collect);
    child.stderr.on("data", collect);
    child.stdin.on("error", () => {}).end(input ?? "");
    child.once("error", failed).once("close", (code) => {
      if (code === 0) done();
      else failed(new Error(`${command} ended with ${code}:\n${output.slice(-3000)}`));
    });
  });
}

let files = 0;
async function fileFor({ folder, content }: Pick<SubmissionOrder, "folder" | "content">): Promise<string> {
  const file = join(folder, `message-${(files += 1)}`);
  await writeFile(file, content);
  return file;
}

const swaks: Client = async (order) => {
  const tls = { plain: [], starttls: ["--tls"], implicit: ["--tls-on-connect"] }[order.connection];
  const login =
    order.login === undefined ? [] : ["--auth", "PLAIN", "--auth-user", order.login.user, "--auth-password", order.login.password];
  const trust = order.connection === "plain" ? [] : ["--tls-verify", "--tls-ca-path", order.roots];
  const envelope = ["--from", order.sender, "--to", order.recipients.join(",")];
  // swaks stuffs dots itself, and puts a line end before the final one: the last line comes without its own.
  const file = await fileFor({ folder: order.folder, content: order.content.subarray(0, -2) });
  await run("swaks", [
    "--server",
    "127.0.0.1",
    "--port",
    String(order.port),
    ...envelope,
    ...tls,
    ...trust,
    ...login,
    "--data",
    `@${file}`,
    "--hide-all",
    "--timeout",
    "60",
  ]);
};

const curl: Client = async (order) => {
  const scheme = order.connection === "implicit" ? "smtps" : "smtp";
  const tls = order.connection === "plain" ? [] : ["--ssl-reqd", "--cacert", order.roots];
  const login = order.login === undefined ? [] : ["--user", `${order.login.user}:${order.login.password}`];
  const envelope = ["--mail-from", order.sender, ...order.recipients.flatMap((one) => ["--mail-rcpt", one])];
  await run("curl", [
    "--silent",
    "--show-error",
    "--max-time",
    "100",
    ...tls,
    ...login,
    ...envelope,
    "--upload-file",
    await fileFor(order),
    `${scheme}://127.0.0.1:${order.port}/client.test`,
  ]);
};

const PYTHON = `
import json, smtplib, ssl, sys
o = json.load(sys.stdin)
context = ssl.create_default_context(cafile=o["roots"])
if o["connection"] == "implicit":
    s = smtplib.SMTP_SSL("127.0.0.1", o["port"], local_hostname="client.test", timeout=100, context=context)
else:
    s = smtplib.SMTP("127.0.0.1", o["port"], local_hostname="client.test", timeout=100)
if o["connection"] == "starttls":
    s.starttls(context=context)
if o.get("login"):
    s.login(o["login"]["user"], o["login"]["password"])
options = ["BODY=8BITMIME"] + (["SMTPUTF8"] if o.get("smtpUtf8") else [])
refused = s.sendmail(o["sender"], o["recipients"], open(o["file"], "rb").read(), options)
s.quit()
sys.exit(repr(refused) if refused else 0)
`;

const smtplib: Client = async (order) => {
  const { content: _, ...rest } = order;
  await run("python3", ["-c", PYTHON], JSON.stringify({ ...rest, file: await fileFor(order) }));
};

const nodeMailer: Client = async (order) => {
  const transport = nodemailer.createTransport({
    host: "127.0.0.1",
    port: order.port,
    name: "client.test",
    secure: order.connection === "implicit",
    ignoreTLS: order.connection === "plain",
    requireTLS: order.connection === "starttls",
    tls: { ca: await readFile(order.roots, "utf8") },
    ...(order.login === undefined ? {} : { auth: { user: order.login.user, pass: order.login.password } }),
  });
  try {
    await transport.sendMail({ envelope: { from: order.sender, to: [...order.recipients] }, raw: order.content });
  } finally {
    transport.close();
  }
};

export const clients: Readonly<Record<"swaks" | "curl" | "smtplib" | "nodemailer", Client>> = {
  swaks,
  curl,
  smtplib,
  nodemailer: nodeMailer,
};
