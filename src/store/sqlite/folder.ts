/**
 * The data folder: made for its owner alone, and refused where a database cannot be safe.
 */
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, realpathSync, statfsSync, statSync } from "node:fs";
import path from "node:path";
import { messageOf } from "../../thrown.ts";

/** The database's file in the data folder. */
export const DATABASE_NAME = "postern.db";

// Superblock magics (statfs(2)). Locks and shared memory of these do not hold what SQLite's WAL mode asks of them.
const NETWORK_MAGIC = new Map<number, string>([
  [0x6969, "NFS"],
  [0x517b, "SMB"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB 2"],
  [0x564c, "NCP"],
  [0x5346414f, "AFS"],
  [0x73757245, "Coda"],
  [0x00c36400, "Ceph"],
  [0x47504653, "GPFS"],
  [0x0bd00bd0, "Lustre"],
]);
const FUSE_MAGIC = 0x65735546;
// FUSE is also how containers share a local folder, so its own type decides.
const NETWORK_FUSE =
  /^fuse\.(?:sshfs|nfs|s3fs|s3backer|rclone|glusterfs|ceph|ceph-fuse|davfs2?|gcsfuse|goofys|mount-s3|juicefs|seaweedfs|smbnetfs|curlftpfs)\b/;

/** The name of the network file system a folder lies on, judged by statfs's type and, for FUSE, by /proc/self/mountinfo. */
export function findNetworkFileSystem(type: number, folder: string, mountinfo: string): string | undefined {
  const magic = type >>> 0;
  const known = NETWORK_MAGIC.get(magic);
  if (known !== undefined || magic !== FUSE_MAGIC) return known;
  let best: { point: string; type: string } | undefined;
  for (const line of mountinfo.split("\n")) {
    // proc(5): fields before " - " vary in number; the mount point is the fifth, the type is the first after it.
    const [before = "", after = ""] = line.split(" - ");
    const point = (before.split(" ")[4] ?? "").replace(/\\040/g, " ");
    const inside = point !== "" && (folder === point || folder.startsWith(point.endsWith("/") ? point : `${point}/`));
    if (inside && point.length >= (best?.point.length ?? 0)) best = { point, type: after.split(" ")[0] ?? "" };
  }
  return best !== undefined && NETWORK_FUSE.test(best.type) ? best.type : undefined;
}

/** Makes the folder (0700) and says where the database is. Throws a sentence for the operator. */
export function prepareFolder(folder: string): {
  readonly database: string;
  readonly lock: string;
  readonly owner: string;
  readonly reserve: string;
} {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new Error(`the data folder ${folder} cannot be made: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const real = realpathSync(folder);
  const network = findNetworkFileSystem(statfsSync(real).type, real, readMountinfo());
  if (network !== undefined)
    throw new Error(
      `the data folder ${folder} is on a network file system (${network}), where a power cut or a second client can damage the queue; use a local disk or a block volume`,
    );
  return {
    database: path.join(real, DATABASE_NAME),
    lock: path.join(real, "postern.lock"),
    owner: path.join(real, "postern.pid"),
    reserve: path.join(real, "postern.reserve"),
  };
}

function readMountinfo(): string {
  try {
    return readFileSync("/proc/self/mountinfo", "utf8");
  } catch {
    return ""; // not Linux
  }
}

/**
 * Makes an empty file that only its owner reads; SQLite gives its companions (-wal, -shm) the same mode. An existing file
 * is not opened: closing it would drop this process's POSIX locks on it (fcntl(2)). It holds private keys, so a copy that came
 * back from a backup readable by everybody is so no longer; what its group may is the operator's choice.
 */
export function createPrivately(file: string): void {
  if (existsSync(file)) {
    for (const one of [file, `${file}-wal`, `${file}-shm`]) closeToOthers(one);
    return;
  }
  closeSync(openSync(file, "a", 0o600));
  chmodSync(file, 0o600);
}

function closeToOthers(file: string): void {
  try {
    const { mode } = statSync(file);
    if ((mode & 0o007) !== 0) chmodSync(file, mode & 0o770);
  } catch {
    // It is not there, or another's: then its owner decides.
  }
}
