import { parse } from "smol-toml";
import { WalarcError } from "../errors.ts";
import { type ClientKey, type ClientSetting, mayBeNumber, TABLE_KEYS } from "./client-keys.ts";
import { closest } from "./spelling.ts";

/**
 * The `[client]` table of a configuration file, as the texts that flags would have had. Reads
 * nothing else in the file: the rest is the daemon's and checked there. Throws `usage`.
 */
export function parseClientTable(text: string, path: string): Map<ClientKey, ClientSetting> {
  let table: unknown;
  try {
    table = parse(text)["client"];
  } catch (error) {
    const [why] = (error as Error).message.split("\n");
    throw new WalarcError("usage", `the configuration file "${path}" is not TOML: ${why}`, {
      hint: `run walarc check-config ${path}`,
      cause: error,
    });
  }

  const entries = new Map<ClientKey, ClientSetting>();
  if (table === undefined) return entries;
  if (typeof table !== "object" || table === null || Array.isArray(table)) {
    throw new WalarcError("usage", `client in "${path}" is not a table`);
  }
  for (const [key, value] of Object.entries(table)) {
    const known = TABLE_KEYS.find((candidate) => candidate.replaceAll("-", "_") === key);
    if (known === undefined) throw unknownKey(key, path);
    // An empty text counts as not given, as in the rest of the file.
    if (value === "") continue;
    const isText = typeof value === "string" || (typeof value === "number" && mayBeNumber(known));
    if (!isText) throw new WalarcError("usage", `client.${key} in "${path}" is not a text`);
    entries.set(known, { text: String(value), source: `client.${key} in ${path}:` });
  }
  return entries;
}

function unknownKey(key: string, path: string): WalarcError {
  const near = closest(
    key,
    TABLE_KEYS.map((candidate) => candidate.replaceAll("-", "_")),
  );
  const hint = near === undefined ? {} : { hint: `did you mean client.${near}?` };
  return new WalarcError("usage", `client.${key} in "${path}" is not a known key`, hint);
}
