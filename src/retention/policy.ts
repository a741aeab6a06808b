/** What an operator wants kept, from the configuration. */
export interface RetentionPolicy {
  /** Pause between two prunes. */
  readonly intervalMs: number;
  /** So many of the newest base backups are claims. */
  readonly keepBackups: number;
  readonly keepForMs: number | undefined;
  /** Plain bytes. */
  readonly keepBytes: number | undefined;
  readonly staleAfterMs: number;
  /** Whether the claim of a stale standby still counts. */
  readonly stalePolicy: "hold" | "release";
}

/** Where the configuration says nothing. */
export const DEFAULT_POLICY: RetentionPolicy = {
  intervalMs: 60_000,
  keepBackups: 2,
  keepForMs: undefined,
  keepBytes: undefined,
  staleAfterMs: 24 * 3_600_000,
  stalePolicy: "hold",
};
