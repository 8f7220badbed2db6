/**
 * What the container, the compose file and the systemd unit promise, read from their text: no container runtime is
 * needed. That the files they copy exist and the commands they run are ours is what a rename would break.
 */
import { execFileSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { matchesGlob } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";

const top = fileURLToPath(new URL("../..", import.meta.url));
const read = (name: string) => readFileSync(`${top}/${name}`, "utf8");

interface Instruction {
  readonly word: string;
  readonly rest: string;
}

/** One list of instructions for each stage. Comment lines go, continued lines join. */
function stagesOf(text: string): Instruction[][] {
  const stages: Instruction[][] = [];
  const lines = text
    .replaceAll(/^#.*\n/gm, "")
    .replaceAll(/\\\n/g, " ")
    .split("\n");
  for (const line of lines) {
    const [, word, rest] = /^([A-Z]+)\s+(.*)$/.exec(line.trim()) ?? [];
    if (word === undefined || rest === undefined) continue;
    if (word === "FROM") stages.push([]);
    stages.at(-1)?.push({ word, rest });
  }
  return stages;
}

const stages = stagesOf(read("Dockerfile"));
const last = stages.at(-1) ?? [];
const all = (word: string) => last.filter((one) => one.word === word).map((one) => one.rest);
const copies = stages.flat().filter((one) => one.word === "COPY" && !one.rest.startsWith("--from"));
const sources = copies.flatMap((one) => one.rest.split(/\s+/).slice(0, -1));

describe("the image", () => {
  test("runs without root, by number, so that Kubernetes can tell", () => {
    const [user] = all("USER");
    expect(user).toMatch(/^[1-9]\d*:[1-9]\d*$/);
    expect(last.findIndex((one) => one.word === "USER")).toBeGreaterThan(last.findLastIndex((one) => one.word === "RUN"));
  });

  test("keeps everything in one volume that its user may write", () => {
    expect(all("VOLUME")).toEqual(["/data"]);
    expect(all("ENV").join(" ")).toContain("DATA_FOLDER=/data");
    const uid = all("USER")[0]?.split(":")[0];
    expect(all("RUN").join(" ")).toContain(`install -d -o ${uid} -g ${uid} -m 0700 /data`);
  });

  test("is asked for its health in exec form, by the command that it runs", () => {
    const [health] = all("HEALTHCHECK");
    expect(health).toMatch(/CMD \["postern", "healthcheck"\]$/);
    expect(all("ENTRYPOINT")).toEqual(['["postern"]']);
    expect(all("CMD")).toEqual(['["serve"]']);
    expect(all("RUN").join(" ")).toContain("ln -s /app/bin/postern.js /usr/local/bin/postern");
  });

  test("has the resolver that Postern starts, the root's keys by name, and what ties its life to ours", () => {
    const install = all("RUN").find((run) => run.includes("apt-get install")) ?? "";
    for (const name of ["unbound", "dns-root-data", "util-linux"]) expect(install.split(/\s+/)).toContain(name);
    expect(install).toContain("--no-install-recommends");
    expect(install).toContain("rm -rf /var/lib/apt/lists/*");
    // Its folder is in /data, the only place that is writable: nothing else may be asked for.
    expect(all("VOLUME")).toEqual(["/data"]);
    expect(all("ENV").join(" ")).not.toMatch(/DNS_RESOLVER|POSTERN__RESOLVER/);
  });

  test("has no development dependencies", () => {
    const installs = (stages[0] ?? []).filter((one) => one.word === "RUN" && one.rest.includes("npm ci"));
    expect(installs.at(-1)?.rest).toContain("--omit=dev");
    expect(all("RUN").join(" ")).not.toContain("npm");
  });

  test("listens on the ports that it exposes", () => {
    const listen = /LISTEN=(\S+)/.exec(all("ENV").join(" "))?.[1]?.split(",");
    expect(all("EXPOSE")[0]?.split(" ")).toEqual(listen);
  });

  test("both stages start from the same Node.js, one that the package allows", () => {
    const bases = stages.map((stage) => stage[0]?.rest.split(" ")[0]);
    expect(new Set(bases).size).toBe(1);
    expect(bases[0]).toMatch(/^node:24-/);
    expect(JSON.parse(read("package.json")).engines.node).toBe(">=22.19");
  });

  const tracked = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], { cwd: top, encoding: "utf8" }).split(
    "\n",
  );
  const ignored = read(".dockerignore").split("\n");
  for (const source of sources) {
    test(`${source} exists, is tracked and is sent to the builder`, () => {
      expect(globSync(source, { cwd: top })).not.toEqual([]);
      expect(tracked.some((file) => file === source || file.startsWith(`${source}/`))).toBe(true);
      expect(
        ignored.some(
          (line) =>
            line.startsWith("!") &&
            (source === line.slice(1) || source.startsWith(`${line.slice(1)}/`) || matchesGlob(source, line.slice(1))),
        ),
      ).toBe(true);
    });
  }
});

describe("the compose file", () => {
  const compose = parse(read("docker-compose.yml")) as {
    services: Record<string, Record<string, unknown>>;
    volumes: Record<string, unknown>;
  };
  const relay = compose.services["relay"] ?? {};

  test("publishes no port: a published port makes an open relay of private networks", () => expect(relay["ports"]).toBeUndefined());
  test("runs read-only, without capabilities", () => {
    expect(relay).toMatchObject({ read_only: true, cap_drop: ["ALL"], security_opt: ["no-new-privileges:true"] });
  });
  test("keeps /data in a named volume", () => {
    expect(relay["volumes"]).toEqual(["relay:/data"]);
    expect(compose.volumes).toHaveProperty("relay");
  });
  test("sets names that the relay reads, its sender domains among them", () => {
    expect(Object.keys(relay["environment"] as object)).toEqual(["MAILNAME", "ALLOWED_SENDER_DOMAINS"]);
  });
});

describe("the systemd unit", () => {
  const unit = new Map<string, string>();
  for (const line of read("packaging/postern.service").split("\n")) {
    const [, key, value] = /^(\w+)=(.*)$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined) unit.set(key, value);
  }
  const cases: [key: string, value: string][] = [
    ["ExecStart", "postern serve --config /etc/postern/postern.yaml"],
    ["ExecStartPre", "postern config check --config /etc/postern/postern.yaml"],
    ["ExecReload", "kill -HUP $MAINPID"],
    ["DynamicUser", "yes"],
    ["StateDirectory", "postern"],
    ["CapabilityBoundingSet", "CAP_NET_BIND_SERVICE"],
  ];
  for (const [key, value] of cases) test(`${key} is ${value}`, () => expect(unit.get(key)).toBe(value));
});
