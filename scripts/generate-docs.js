/** `node scripts/generate-docs.js`: writes config/postern.schema.json and the tables of docs/configuration.md from the settings schema. */
import { readFileSync, writeFileSync } from "node:fs";
import { configJsonSchemaText } from "../src/config/json-schema.ts";
import { updateReference } from "../src/config/reference.ts";

const file = (path) => new URL(`../${path}`, import.meta.url);

writeFileSync(file("config/postern.schema.json"), configJsonSchemaText());
const reference = file("docs/configuration.md");
writeFileSync(reference, updateReference(readFileSync(reference, "utf8")));
