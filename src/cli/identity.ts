import { readFileSync } from "node:fs";
import { systemIdentifierOf } from "../wal/control-file.ts";

/**
 * The header that tells the server which database cluster calls: PostgreSQL runs its commands in
 * the data directory, where `global/pg_control` carries the system identifier. Elsewhere: none.
 */
export function identityHeader(): Record<string, string> {
  let controlFile: Buffer;
  try {
    controlFile = readFileSync("global/pg_control");
  } catch {
    return {}; // No data directory, or not ours to read: the server can do without.
  }
  const systemIdentifier = systemIdentifierOf(controlFile);
  return systemIdentifier === undefined ? {} : { "Walarc-System-Identifier": systemIdentifier };
}
