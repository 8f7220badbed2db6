/** `npm run build`: src/ compiled to dist/, and the database's migrations beside their code. */
import { spawnSync } from "node:child_process";
import { cpSync, globSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const top = fileURLToPath(new URL("..", import.meta.url));
process.chdir(top);
// A file that went from src/ must not live on in dist/.
rmSync("dist", { recursive: true, force: true });
const compiled = spawnSync("tsc", ["-p", "tsconfig.build.json"], { stdio: "inherit" });
if (compiled.error !== undefined) console.error(`tsc cannot be run (${compiled.error.message}); npm ci first`);
if (compiled.status !== 0) process.exit(1);
for (const file of globSync("**/*.sql", { cwd: "src" })) {
  mkdirSync(dirname(join("dist", file)), { recursive: true });
  cpSync(join("src", file), join("dist", file));
}
