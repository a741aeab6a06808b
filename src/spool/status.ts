/** What a spool tells about itself. */

/** Why something cannot be archived. A closed set: a label of metrics. */
export const REJECTIONS = [
  /** No WAL file's name, and none that a copying program uses. */
  "foreign_name",
  /** A link, a directory, a pipe, a device. */
  "not_a_file",
  /** Permission is denied. */
  "unreadable",
  /** Not WAL, or not this cluster's, or not under its name. */
  "rejected",
  /** The archive holds the name with another content. */
  "conflict",
  /** Cut short, and nobody went on with it. */
  "incomplete",
] as const;
export type Rejection = (typeof REJECTIONS)[number];

/** One thing that was set aside. */
export interface RejectedEntry {
  readonly name: string;
  readonly reason: Rejection;
  /** In words. */
  readonly why: string;
  /** Its name in `rejected/`; `null` where it could not be moved and stands where it stood. */
  readonly as: string | null;
}

export interface SpoolStatus {
  readonly path: string;
  /** WAL files waiting. */
  readonly files: number;
  /** Since the oldest of those next in turn was last written to; 0 when none waits. */
  readonly oldestAgeSeconds: number;
  /** Since when the archive takes nothing, ISO 8601; `null` when it does. */
  readonly waitingSince: string | null;
  /** Why nothing is drained; `null` when all is well. */
  readonly problem: string | null;
  /** Of the waiting ones, those that are cut short or cannot be read yet, the first few. */
  readonly incomplete: readonly { readonly name: string; readonly why: string }[];
  /** Files under temporary names that nobody has touched for `incomplete_after`. */
  readonly abandoned: readonly string[];
  /** What lies in `rejected/`. */
  readonly rejected: number;
  /** What was set aside since the start, the newest first, the last few. */
  readonly lastRejected: readonly RejectedEntry[];
}
