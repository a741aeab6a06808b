/**
 * What every client command can be told: `server` is the flag `--server`, the variable
 * `WALARC_SERVER` and, with underscores for dashes, the key `server` of the `[client]` table.
 */
export const CLIENT_KEYS = [
  "server",
  "cluster",
  "token-file",
  "ca-file",
  "cert-file",
  "key-file",
  "timeout",
] as const;

/** What only some of them can be told, and the `[client]` table for them. */
export const COMMAND_KEYS = ["prefetch", "look-ahead"] as const;

export type ClientKey = (typeof CLIENT_KEYS)[number] | (typeof COMMAND_KEYS)[number];

/** Every key of the `[client]` table, as a flag is written. */
export const TABLE_KEYS: readonly ClientKey[] = [...CLIENT_KEYS, ...COMMAND_KEYS];

/** Whether a number may stand for its text: `timeout = 60`, `prefetch = 0`. */
export function mayBeNumber(key: ClientKey): boolean {
  return key === "timeout" || key === "prefetch" || key === "look-ahead";
}

/** A setting and, for messages, where it was found. */
export interface ClientSetting {
  readonly text: string;
  readonly source: string;
}
