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

export type ClientKey = (typeof CLIENT_KEYS)[number];

/** A setting and, for messages, where it was found. */
export interface ClientSetting {
  readonly text: string;
  readonly source: string;
}
