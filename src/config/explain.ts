/** What each environment variable that is present means to Postern: for `config explain-env`. Shows no secret. */
import { readCompat, readHostname } from "./compat.ts";
import { readDocument } from "./document.ts";
import { readEnvironment } from "./environment.ts";
import { formatPath, keyAt, rootKey } from "./keys.ts";
import { type ConfigSources, compatContext, PLAIN_MACHINE } from "./load.ts";
import { redactValue, scrub, secretsIn } from "./redact.ts";

export interface ExplainedName {
  readonly name: string;
  readonly meaning: string;
}

export function explainEnvironment({
  file,
  environment,
  readFile,
  machine = PLAIN_MACHINE,
}: Omit<ConfigSources, "overrides">): ExplainedName[] {
  const direct = readEnvironment(environment, readFile);
  const compat = readCompat(environment, readFile, compatContext(readDocument(file?.text ?? ""), direct.assignments, machine));
  const rows: ExplainedName[] = [...compat.explained];
  for (const { path, value, origin } of direct.assignments) {
    const shown = redactValue(value, keyAt(path));
    if (origin.kind === "environment")
      rows.push({ name: origin.name, meaning: `sets ${formatPath(path)} = ${typeof shown === "string" ? shown : JSON.stringify(shown)}` });
  }
  for (const { source, message } of [...direct.errors, ...compat.errors]) {
    if (source !== undefined && !rows.some(({ name }) => name === source)) rows.push({ name: source, meaning: `refused: ${message}` });
  }
  if (readHostname(environment) !== undefined) rows.push({ name: "HOSTNAME", meaning: "is the mailname if nothing else sets one" });
  if ((environment["POSTERN_CONFIG"] ?? "") !== "")
    rows.push({ name: "POSTERN_CONFIG", meaning: `names the configuration file: ${environment["POSTERN_CONFIG"]}` });
  const secrets = [...direct.assignments, ...compat.assignments].flatMap(({ path, value }) => secretsIn(value, keyAt(path) ?? rootKey));
  return rows
    .map(({ name, meaning }) => ({ name, meaning: scrub(meaning, secrets) }))
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}
