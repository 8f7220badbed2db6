/**
 * Debian packages that the tests need: real clients and real receivers. Installs what is missing when it may (root, apt),
 * and otherwise names each missing one and why it is wanted. Run on its own, or by scripts/test.js before the tests.
 *
 * Postfix and Exim exclude each other in apt, so Exim is unpacked beside us, in .test-tools/. No package's own service is
 * started: the tests run private instances under folders of their own.
 */
import { execFileSync, spawnSync } from "node:child_process";
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const toolsFolder = fileURLToPath(new URL("../.test-tools", import.meta.url));
const searchPath = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/** What the tests call, the Debian package it is in, and what for. `also` comes along with an installation. */
export const testPackages = [
  { name: "postfix", command: "postfix", why: "a real receiver" },
  {
    name: "exim4-daemon-light",
    unpackedAs: "exim",
    command: "usr/sbin/exim4",
    user: "Debian-exim",
    why: "a second real receiver",
    also: ["libgnutls-dane0", "libidn12", "libidn2-0", "libpcre2-8-0", "libnsl2", "libdb5.3"],
  },
  { name: "swaks", command: "swaks", why: "a client", also: ["libnet-ssleay-perl", "libnet-dns-perl"] },
  { name: "curl", command: "curl", why: "a client" },
  { name: "python3", command: "python3", why: "a client (smtplib)" },
  { name: "strace", command: "strace", why: "sees the order of sync and reply" },
  { name: "openssl", command: "openssl", why: "makes the tests' certificates" },
  { name: "procps", command: "ps", why: "looks for processes left behind" },
  { name: "nsd", command: "nsd", why: "serves the lab's signed zones" },
  { name: "ldnsutils", command: "ldns-signzone", why: "signs the lab's zones" },
  { name: "unbound", command: "unbound", why: "a validating resolver" },
  { name: "dns-root-data", file: "/usr/share/dns/root.key", why: "the resolver's trust anchor" },
  { name: "iproute2", command: "ip", why: "brings up the lab's network namespace" },
  { name: "util-linux", command: "setpriv", why: "ends the resolver with the relay" },
  { name: "util-linux", command: "unshare", why: "makes the lab's network namespace" },
];

/** The first place in PATH or the system's folders that has it, or undefined. */
export function findCommand(command) {
  for (const folder of searchPath) {
    if (folder === "") continue;
    const path = join(folder, command);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not here
    }
  }
  return undefined;
}

/** Where an unpacked package's files are: `.test-tools/exim`. */
export function unpackedFolder(name) {
  return join(toolsFolder, name);
}

export function missingPackages(packages = testPackages) {
  return packages.filter((one) => {
    if (one.user !== undefined && !userExists(one.user)) return true;
    if (one.file !== undefined) return !existsSync(one.file);
    return one.unpackedAs === undefined
      ? findCommand(one.command) === undefined
      : !existsSync(join(unpackedFolder(one.unpackedAs), one.command));
  });
}

function userExists(name) {
  return readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .some((line) => line.startsWith(`${name}:`));
}

/** Missing packages in words, with the command that brings them. */
export function explainMissing(missing) {
  const lines = missing.map((one) => `  ${one.name.padEnd(20)} ${one.why}`);
  return `The tests need these Debian packages, and this user may not install them:\n${lines.join("\n")}\nAs root, once:  node scripts/test-packages.js`;
}

/** Resolves everything missing, or throws an error that says what is missing and how to get it. */
export function ensureTestPackages() {
  const missing = missingPackages();
  if (missing.length === 0) return [];
  if (process.getuid?.() !== 0 || findCommand("apt-get") === undefined) throw new Error(explainMissing(missing));
  const plain = missing.filter((one) => one.unpackedAs === undefined).map((one) => one.name);
  const libraries = missing.flatMap((one) => one.also ?? []);
  // An old list of packages names versions that the mirror no longer has.
  apt(["update", "-q"], { mayFail: true });
  withoutServices(() => {
    preseedPostfix();
    if (plain.length + libraries.length > 0) apt(["install", "-qy", "--no-install-recommends", ...plain, ...libraries]);
    for (const one of missing) {
      if (one.unpackedAs !== undefined) unpack(one.name, one.unpackedAs);
      if (one.user !== undefined && !userExists(one.user)) addSystemUser(one.user);
    }
  });
  const still = missingPackages();
  if (still.length > 0)
    throw new Error(`installed, but still not found: ${still.map((one) => `${one.name} (${one.command ?? one.file})`).join(", ")}`);
  return missing.map((one) => one.name);
}

function apt(args, { mayFail = false, cwd = "/" } = {}) {
  const run = spawnSync("apt-get", args, {
    cwd,
    encoding: "utf8",
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C.UTF-8" },
  });
  if (run.status === 0 || mayFail) return;
  throw new Error(`apt-get ${args.join(" ")} failed:\n${(run.stderr || run.error?.message || "").split("\n").slice(-15).join("\n")}`);
}

/** Debian's way to say that packages start no service: policy-rc.d answers 101. One that is already there stays. */
function withoutServices(work) {
  const policy = "/usr/sbin/policy-rc.d";
  if (existsSync(policy)) return work();
  writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    return work();
  } finally {
    rmSync(policy, { force: true });
  }
}

function preseedPostfix() {
  const answers = "postfix postfix/main_mailer_type select No configuration\n";
  spawnSync("debconf-set-selections", { input: answers });
}

/** The user whose name is compiled into the program; its package would have made it. */
function addSystemUser(name) {
  execFileSync("useradd", [
    "--system",
    "--user-group",
    "--no-create-home",
    "--home-dir",
    "/nonexistent",
    "--shell",
    "/usr/sbin/nologin",
    name,
  ]);
}

/** Downloads a package and lays its files under .test-tools/NAME, whole or not at all. */
function unpack(name, folder) {
  // Under /tmp, where apt's own user may write.
  const scratch = mkdtempSync(join(tmpdir(), "postern-packages-"));
  chmodSync(scratch, 0o777);
  try {
    apt(["download", "-q", name], { cwd: scratch });
    const file = readdirSync(scratch).find((entry) => entry.endsWith(".deb"));
    if (file === undefined) throw new Error(`apt-get download ${name} left no package`);
    mkdirSync(toolsFolder, { recursive: true });
    const half = join(toolsFolder, `${folder}.half`);
    rmSync(half, { recursive: true, force: true });
    execFileSync("dpkg", ["-x", join(scratch, file), half]);
    // A set-user-id program has no business in a working tree; the tests run it as root anyway.
    execFileSync("chmod", ["-R", "ug-s", half]);
    rmSync(unpackedFolder(folder), { recursive: true, force: true });
    renameSync(half, unpackedFolder(folder));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const installed = ensureTestPackages();
    console.log(installed.length === 0 ? "test packages: all there" : `test packages: installed ${installed.join(", ")}`);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
