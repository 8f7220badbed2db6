/**
 * A private Postfix as receiver: its configuration, queue and mailbox in a folder of its own, STARTTLS asked of every
 * client. Postfix must be installed (scripts/test-packages.js) and started as root; no service of the system is touched.
 */
import { spawn, spawnSync } from "node:child_process";
import { chownSync, statSync } from "node:fs";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { Mailbox } from "./mailbox.ts";
import { findFreePort, makeTempFolder, waitUntil } from "./temp.ts";

export interface RealReceiver extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  readonly mailbox: Mailbox;
  readonly log: () => Promise<string>;
}

export interface ReceiverOptions {
  readonly hostname: string;
  /** Domains it takes mail for. */
  readonly domains: readonly string[];
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly address?: string;
  readonly port?: number;
}

const NOBODY = 65_534;

export async function startPostfix(options: ReceiverOptions): Promise<RealReceiver> {
  const folder = await makeTempFolder("postfix");
  const address = options.address ?? "127.0.0.1";
  const port = options.port ?? (await findFreePort([address]));
  const at = (name: string) => join(folder.path, name);
  for (const name of ["conf", "queue", "data", "mail", "log"]) await mkdir(at(name));
  const owner = spawnSync("id", ["-u", "postfix"], { encoding: "utf8" });
  if (owner.status !== 0) throw new Error("user postfix does not exist; is Postfix installed?");
  chownSync(at("data"), Number(owner.stdout), statSync(at("data")).gid);
  chownSync(at("mail"), NOBODY, NOBODY);
  await copyFile(options.certificateFile, at("conf/certificate.pem"));
  await copyFile(options.keyFile, at("conf/key.pem"));
  await writeFile(at("conf/main.cf"), mainConfiguration(options, folder.path));
  await writeFile(at("conf/master.cf"), services(address, port));
  const child = spawn("postfix", ["-c", at("conf"), "start-fg"], { stdio: ["ignore", "ignore", "pipe"] });
  let complaint = "";
  child.stderr.on("data", (chunk: Buffer) => (complaint += chunk.toString()));
  const log = () => readFile(at("log/mail.log"), "utf8").catch(() => "");
  const end = async () => {
    spawnSync("postfix", ["-c", at("conf"), "stop"]);
    if (child.exitCode === null) child.kill("SIGKILL");
    await folder[Symbol.asyncDispose]();
  };
  await waitUntil(`Postfix on ${address}:${port}`, async () => {
    if (child.exitCode !== null) throw new Error(`Postfix ended: ${complaint}\n${await log()}`);
    return canConnect(address, port);
  }).catch(async (error: unknown) => {
    await end();
    throw error;
  });
  return {
    address,
    port,
    mailbox: new Mailbox(at("mail/box")),
    log,
    [Symbol.asyncDispose]: end,
  };
}

/** Whether something listens there. */
export function canConnect(address: string, port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, address);
    socket.once("connect", () => (socket.destroy(), done(true))).once("error", () => done(false));
  });
}

function mainConfiguration(options: ReceiverOptions, folder: string): string {
  return `compatibility_level = 3.6
queue_directory = ${folder}/queue
data_directory = ${folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = ${folder}/log/mail.log
maillog_file_prefixes = ${folder}
myhostname = ${options.hostname}
mydestination =
mynetworks =
# The address is in master.cf; here only those of interfaces may stand, and 127.0.0.2 is none.
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
# Neither completed nor rewritten: what comes in is what the mailbox gets.
local_header_rewrite_clients =
smtpd_relay_restrictions = reject_unauth_destination
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_forbid_bare_newline = no
message_size_limit = 104857600
virtual_mailbox_limit = 0
virtual_transport = virtual
virtual_mailbox_domains = ${options.domains.join(" ")}
virtual_mailbox_base = ${folder}/mail
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:${NOBODY}
virtual_gid_maps = static:${NOBODY}
in_flow_delay = 0
smtpd_tls_cert_file = ${folder}/conf/certificate.pem
smtpd_tls_key_file = ${folder}/conf/key.pem
smtpd_tls_security_level = encrypt
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1
`;
}

function services(address: string, port: number): string {
  return `${address}:${port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`;
}
