/** The JSON Schema (2020-12) of the configuration file, for editors: from the settings schema, as the file is written. */
import { z } from "zod";
import { settingsSchema } from "./settings.ts";

const SCHEMA_ID = "urn:postern:configuration";

export function configJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(settingsSchema, {
    io: "input",
    override: ({ jsonSchema, path }) => {
      // `unit` and `secret` are for us; editors know writeOnly.
      if (jsonSchema["secret"] === true) jsonSchema.writeOnly = true;
      delete jsonSchema["secret"];
      delete jsonSchema["unit"];
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
      if (JSON.stringify(jsonSchema.default) === "{}") delete jsonSchema.default;
      const name = path.at(-1);
      if (path.at(-2) === "properties" && typeof name === "string") jsonSchema.title ??= words(name);
      // A key without a value sets nothing, so that a section whose keys are all commented out is no error.
      if (jsonSchema.type === "object" && jsonSchema.properties !== undefined && path.at(-2) === "properties")
        jsonSchema.type = ["object", "null"] as unknown as "object";
    },
  });
  const { $schema, ...rest } = schema;
  return {
    $schema,
    $id: SCHEMA_ID,
    title: "Postern",
    description: "Configuration of the Postern mail relay",
    ...JSON.parse(JSON.stringify(rest)),
  };
}

/** The schema as the file in config/ holds it. */
export function configJsonSchemaText(): string {
  return `${JSON.stringify(configJsonSchema(), null, 2)}\n`;
}

/** `connectionsPerAddress` is "Connections per address". */
function words(name: string): string {
  const spaced = name.replace(/([a-z])([A-Z0-9])/g, "$1 $2").toLowerCase();
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}
