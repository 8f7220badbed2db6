/**
 * Zones of the lab: records in, signed zone files out, by ldns-signzone. A zone may be spoilt after signing, one RRset at a
 * time or as a whole, in the ways that happen to zones: expired, tampered with, stripped of signatures, a wrong DS.
 */
import { execFile } from "node:child_process";
import { createHash, generateKeyPairSync } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** What is wrong with the signatures of one RRset. */
export type RecordFault = "tampered" | "stripped" | "expired";

export interface ZoneOptions {
  /** `optout`: NSEC3 whose gaps prove nothing (RFC 5155 §6). Default: nsec. */
  readonly signing?: "nsec" | "nsec3" | "optout" | "none";
  /** More iterations than validators bear make the zone insecure (RFC 9276 §3.2). */
  readonly iterations?: number;
  /** What the parent says: default the right DS for signed zones. `none` leaves a signed zone without a chain of trust. */
  readonly ds?: "right" | "wrong" | "none" | "unknown-algorithm" | "unknown-digest";
  /** All signatures ended yesterday. */
  readonly expired?: boolean;
  /** The address of its name server. */
  readonly server: string;
  /** Seconds, of records that name none; also the SOA's minimum. */
  readonly ttl?: number;
}

interface ZoneRecord {
  readonly owner: string;
  readonly type: string;
  readonly data: string;
}

const DAY = 86_400;

/** One key signs every zone: only its owner's name differs. */
class LabKey {
  readonly #d: string;
  /** Base64 of the public point. */
  readonly publicKey: string;

  constructor() {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const { d = "", x = "", y = "" } = privateKey.export({ format: "jwk" });
    const plain = (part: string) => Buffer.from(part, "base64url");
    this.#d = plain(d).toString("base64");
    this.publicKey = Buffer.concat([plain(x), plain(y)]).toString("base64");
  }

  get rdata(): Buffer {
    return Buffer.concat([Buffer.from([1, 1, 3, 13]), Buffer.from(this.publicKey, "base64")]);
  }

  /** RFC 4034 Appendix B. */
  get tag(): number {
    let sum = 0;
    for (const [at, octet] of this.rdata.entries()) sum += at % 2 === 0 ? octet << 8 : octet;
    return (sum + ((sum >> 16) & 0xffff)) & 0xffff;
  }

  /** Base name of the files that ldns-signzone reads. */
  async write(folder: string, zone: string): Promise<string> {
    const base = join(folder, `K${fileName(zone)}+013+${String(this.tag).padStart(5, "0")}`);
    await writeFile(`${base}.key`, `${zone} IN DNSKEY ${this.dnskey}\n`);
    await writeFile(`${base}.private`, `Private-key-format: v1.2\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: ${this.#d}\n`);
    return base;
  }

  get dnskey(): string {
    return `257 3 13 ${this.publicKey}`;
  }

  /** RFC 4034 §5.1.4, SHA-256. */
  ds(zone: string): string {
    return `${this.tag} 13 2 ${createHash("sha256").update(wireName(zone)).update(this.rdata).digest("hex")}`;
  }
}

function wireName(zone: string): Buffer {
  const labels = zone.split(".").filter((label) => label !== "");
  return Buffer.concat([...labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])), Buffer.from([0])]);
}

const fileName = (zone: string) => (zone === "." ? "root" : zone.replace(/\.$/, ""));

export class Zone {
  /** With a final dot. */
  readonly name: string;
  readonly options: ZoneOptions;
  readonly #records: ZoneRecord[] = [];
  readonly #faults: { owner: string; type: string; how: RecordFault }[] = [];
  #serial = 1;

  constructor(name: string, options: ZoneOptions) {
    this.name = name === "." ? "." : `${name}.`;
    this.options = options;
  }

  get isSigned(): boolean {
    return this.options.signing !== "none";
  }

  get serial(): number {
    return this.#serial;
  }

  /** Names are absolute, without final dot. */
  add(owner: string, type: string, data: string): void {
    this.#records.push({ owner: owner === "" ? "." : `${owner}.`, type, data });
  }

  /** Takes all records of a name and type away, for zones that change while the lab runs. */
  remove(owner: string, type: string): void {
    for (let at = this.#records.length - 1; at >= 0; at -= 1) {
      const record = this.#records[at];
      if (record?.owner === `${owner}.` && record.type === type) this.#records.splice(at, 1);
    }
  }

  /** Spoils the signatures of an RRset once the zone is signed. */
  spoil(owner: string, type: string, how: RecordFault): void {
    this.#faults.push({ owner: `${owner}.`, type, how });
  }

  text(): string {
    const { ttl = 300, server } = this.options;
    const ns = this.name === "." ? "ns.root-servers.test." : `ns.${this.name}`;
    const lines = [
      `$ORIGIN ${this.name}`,
      `$TTL ${ttl}`,
      `@ IN SOA ${ns} admin.test. ${this.#serial} 3600 600 864000 ${Math.min(ttl, 60)}`,
      `@ IN NS ${ns}`,
      ...(this.name === "." ? [] : [`ns IN A ${server}`]),
      ...new Set(this.#records.map(({ owner, type, data }) => `${owner} IN ${type} ${data}`)),
    ];
    return `${lines.join("\n")}\n`;
  }

  /** Writes the file that NSD serves; each time with a higher serial. */
  async write(folder: string, key: LabKey): Promise<string> {
    this.#serial += 1;
    const plain = join(folder, `${fileName(this.name)}.zone`);
    const served = join(folder, `${fileName(this.name)}.served`);
    await writeFile(plain, this.text());
    if (!this.isSigned) {
      await writeFile(served, this.text());
      return served;
    }
    const base = await key.write(folder, this.name);
    const signed = await this.#sign(plain, `${plain}.signed`, base, this.options.expired === true);
    const outdated = this.#faults.some(({ how }) => how === "expired") ? await this.#sign(plain, `${plain}.outdated`, base, true) : [];
    await writeFile(served, `${this.#spoilt(signed, outdated).join("\n")}\n`);
    return served;
  }

  async #sign(plain: string, out: string, key: string, expired: boolean): Promise<string[]> {
    const now = Math.floor(Date.now() / 1000);
    const [from, to] = expired ? [now - 20 * DAY, now - DAY] : [now - DAY, now + 20 * DAY];
    const { signing = "nsec", iterations = 0 } = this.options;
    const denial = signing === "nsec" ? [] : ["-n", "-a", "1", "-t", String(iterations), ...(signing === "optout" ? ["-p"] : [])];
    await run("ldns-signzone", [...denial, "-i", String(from), "-e", String(to), "-o", this.name, "-f", out, plain, key]);
    return (await readFile(out, "utf8")).split("\n");
  }

  #spoilt(signed: readonly string[], outdated: readonly string[]): string[] {
    const signatureOf = (line: string): string | undefined => {
      const [owner, , , type, covered] = line.split(/\s+/);
      return type === "RRSIG" ? `${owner} ${covered}` : undefined;
    };
    const faults = new Map(this.#faults.map(({ owner, type, how }) => [`${owner} ${type}`, how]));
    return signed.flatMap((line) => {
      const name = signatureOf(line);
      switch (name === undefined ? undefined : faults.get(name)) {
        case undefined:
          return [line];
        case "stripped":
          return [];
        case "tampered":
          // A signature of another RRset's length and shape, and of nothing.
          return [line.replace(/\S{20}\s*$/, "AAAAAAAAAAAAAAAAAA==")];
        case "expired":
          return outdated.filter((other) => signatureOf(other) === name);
      }
    });
  }

  /** The parent's DS records for it; none for unsigned zones. */
  dsRecords(key: LabKey): string[] {
    const right = key.ds(this.name);
    switch (this.options.ds ?? (this.isSigned ? "right" : "none")) {
      case "none":
        return [];
      case "right":
        return [right];
      case "wrong":
        return [right.replace(/\S{8}$/, "00000000")];
      case "unknown-algorithm":
        return [right.replace(/ 13 2 /, " 200 2 ")];
      case "unknown-digest":
        return [right.replace(/ 13 2 /, " 13 77 ")];
    }
  }
}

/** The whole tree below its own root. */
export class ZoneTree {
  readonly zones = new Map<string, Zone>();
  readonly #key = new LabKey();
  readonly #folder: string;
  readonly root: Zone;

  constructor(folder: string, server: string) {
    this.#folder = folder;
    this.root = this.create(".", { server });
    this.root.add("ns.root-servers.test", "A", server);
    this.create("test", { server });
  }

  create(name: string, options: ZoneOptions): Zone {
    const zone = new Zone(name, options);
    if (this.zones.has(zone.name)) throw new Error(`zone ${name} exists`);
    this.zones.set(zone.name, zone);
    return zone;
  }

  /** The zone that a name belongs in: the deepest one. */
  zoneOf(name: string): Zone {
    for (let rest = `${name}.`; rest !== ""; rest = rest.slice(rest.indexOf(".") + 1)) {
      const zone = this.zones.get(rest);
      if (zone !== undefined) return zone;
    }
    return this.root;
  }

  /** DNSKEY in zone file form, for resolvers. */
  get trustAnchor(): string {
    return `. IN DNSKEY ${this.#key.dnskey}\n`;
  }

  get rootHints(): string {
    return `. 3600000 IN NS ns.root-servers.test.\nns.root-servers.test. 3600000 IN A ${this.root.options.server}\n`;
  }

  /** Delegates every zone from its parent, signs, and writes all files. */
  async write(): Promise<Map<string, string>> {
    await mkdir(this.#folder, { recursive: true });
    for (const zone of this.zones.values()) {
      if (zone.name === ".") continue;
      const name = zone.name.slice(0, -1);
      const parent = this.zoneOf(name.includes(".") ? name.slice(name.indexOf(".") + 1) : "");
      parent.add(name, "NS", `ns.${zone.name}`);
      parent.add(`ns.${name}`, "A", zone.options.server);
      for (const ds of zone.dsRecords(this.#key)) parent.add(name, "DS", ds);
    }
    const files = new Map<string, string>();
    const waiting = [...this.zones.values()];
    const work = async (): Promise<void> => {
      for (let zone = waiting.pop(); zone !== undefined; zone = waiting.pop()) files.set(zone.name, await this.rewrite(zone));
    };
    await Promise.all([work(), work(), work()]);
    return files;
  }

  rewrite(zone: Zone): Promise<string> {
    return zone.write(this.#folder, this.#key);
  }
}
