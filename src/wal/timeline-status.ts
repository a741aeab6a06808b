/** One timeline as the status shows it. */
export interface TimelineStatus {
  readonly timeline: number;
  readonly parent: number | null;
  readonly switchLsn: string | null;
  readonly ranges: readonly ArchivedRange[];
  readonly gaps: readonly Gap[];
}

export interface ArchivedRange {
  readonly first: string;
  readonly last: string;
  readonly segments: number;
}

/**
 * Missing segments between two neighbours. Where a timeline's beginning is missing, `after` is on
 * its parent; where its end is, `before` is the first segment of the child that left it last.
 */
export interface Gap {
  /** `null` only where no segment can come before. */
  readonly after: string | null;
  readonly before: string;
  readonly segments: number;
}
