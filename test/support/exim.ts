/**
 * A private Exim as receiver, from the unpacked Debian package (scripts/test-packages.js): its configuration, spool and
 * mailbox in a folder of its own, STARTTLS asked of every client. Its TLS is GnuTLS, unlike Postfix's OpenSSL and ours.
 */
import { spawn, spawnSync } from "node:child_process";
import { chownSync } from "node:fs";
import { copyFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { unpackedFolder } from "../../scripts/test-packages.js";
import { Mailbox } from "./mailbox.ts";
import { canConnect, type RealReceiver, type ReceiverOptions } from "./postfix.ts";
import { findFreePort, makeTempFolder, waitUntil } from "./temp.ts";

const USER = "Debian-exim";

export async function startExim(options: ReceiverOptions): Promise<RealReceiver> {
  const folder = await makeTempFolder("exim");
  const address = options.address ?? "127.0.0.1";
  const port = options.port ?? (await findFreePort([address]));
  const at = (name: string) => join(folder.path, name);
  const uid = numberOf("-u");
  const gid = numberOf("-g");
  for (const name of ["spool", "mail", "log", "conf"]) {
    await mkdir(at(name));
    chownSync(at(name), uid, gid);
  }
  for (const [from, to] of [
    [options.certificateFile, at("conf/certificate.pem")],
    [options.keyFile, at("conf/key.pem")],
  ] as const) {
    await copyFile(from, to);
    chownSync(to, uid, gid);
  }
  const program = join(unpackedFolder("exim"), "usr/sbin/exim4");
  await writeFile(at("exim.conf"), configuration(options, folder.path, address, port, program));
  const child = spawn(program, ["-C", at("exim.conf"), "-bdf", "-oX", `${address}.${port}`], {
    stdio: ["ignore", "ignore", "pipe"],
    detached: true,
  });
  let complaint = "";
  child.stderr.on("data", (chunk: Buffer) => (complaint += chunk.toString()));
  const log = async () => {
    const texts = (await readdir(at("log"))).map((name) => readFile(at(`log/${name}`), "utf8"));
    return `${complaint}${(await Promise.all(texts)).join("")}`;
  };
  const end = async () => {
    // The whole group: a delivery may still be under way.
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, "SIGKILL");
    await folder[Symbol.asyncDispose]();
  };
  await waitUntil(`Exim on ${address}:${port}`, async () => {
    if (child.exitCode !== null) throw new Error(`Exim ended: ${await log()}`);
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

function numberOf(flag: "-u" | "-g"): number {
  const { status, stdout } = spawnSync("id", [flag, USER], { encoding: "utf8" });
  if (status !== 0) throw new Error(`user ${USER} does not exist; node scripts/test-packages.js makes it`);
  return Number(stdout);
}

function configuration(options: ReceiverOptions, folder: string, address: string, port: number, program: string): string {
  return `exim_path = ${program}
exim_user = ${USER}
exim_group = ${USER}
never_users =
keep_environment =
# Without set-user-id it delivers as the user it receives as.
deliver_drop_privilege
spool_directory = ${folder}/spool
log_file_path = ${folder}/log/%slog
pid_file_path = ${folder}/spool/exim.pid
primary_hostname = ${options.hostname}
local_interfaces = <; ${address}
daemon_smtp_ports = ${port}
disable_ipv6
domainlist ours = ${options.domains.join(" : ")}
acl_smtp_mail = check_mail
acl_smtp_rcpt = check_recipient
acl_smtp_data = accept
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
message_size_limit = 100M
rfc1413_query_timeout = 0s
host_lookup =
dns_dnssec_ok = 0
allow_utf8_domains
tls_advertise_hosts = *
tls_certificate = ${folder}/conf/certificate.pem
tls_privatekey = ${folder}/conf/key.pem
begin acl
check_mail:
  accept encrypted = *
  deny message = STARTTLS first
check_recipient:
  accept domains = +ours
  deny message = relay not permitted
begin routers
box:
  driver = accept
  domains = +ours
  transport = box
begin transports
box:
  driver = appendfile
  user = ${USER}
  maildir_format
  create_directory
  directory = ${folder}/mail/box
  envelope_to_add
  return_path_add
begin retry
* * F,1h,1m
`;
}
