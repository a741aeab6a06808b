/**
 * What of an archive may be removed. The meaning is that of pg_archivecleanup: everything whose
 * position is below the horizon goes, whatever its timeline, and history files never do. The
 * horizon is the lowest position that any claim needs, and never above the newest archived segment.
 */
import type { Catalog } from "./catalog.ts";
import { type PlacedName, parseWalName } from "./name.ts";
import type { SegmentRange } from "./ranges.ts";
import { segmentName, segmentNumber } from "./segment.ts";

export type ClaimKind = "standby" | "backup" | "window" | "hold";

/** A reason to keep WAL: everything from one position on. */
export interface Claim {
  readonly kind: ClaimKind;
  readonly name: string;
  /** The oldest segment needed; `undefined` where nobody knows, and then everything is kept. */
  readonly from: PlacedName | undefined;
  /** Why `from` is not known, or cannot be relied on. */
  readonly doubt?: string | undefined;
  /** It may be over: it keeps WAL, but where it is alone it is no reason to let older WAL go. */
  readonly isEnding?: true | undefined;
}

/** Segments of one timeline, by number, both ends included. */
export interface RemovableRange extends SegmentRange {
  readonly timeline: number;
}

export interface RetentionPlan {
  /** The oldest segment that any claim needs; `undefined` when that cannot be told. */
  readonly horizon: PlacedName | undefined;
  /** The claims that the horizon waits for. None means that nobody has claimed anything. */
  readonly heldBy: readonly Claim[];
  /** Oldest first. */
  readonly segments: readonly RemovableRange[];
  /** Partial segments and backup history files, oldest first. */
  readonly others: readonly PlacedName[];
  readonly segmentSizeBytes: number | undefined;
}

/**
 * Decides what may be removed; costs as much for a million segments in a row as for one. Any doubt
 * keeps everything: no claim at all, a claim of unknown position, one on a timeline of which the
 * archive knows nothing. A full disk is an alarm, a missing segment a lost standby.
 */
export function planRetention(catalog: Catalog, claims: readonly Claim[]): RetentionPlan {
  const { segmentSizeBytes } = catalog;
  const nothing = { horizon: undefined, segments: [], others: [], segmentSizeBytes };
  const judged = claims.map((claim) => judge(catalog, claim));
  const doubtful = judged.filter((claim) => claim.doubt !== undefined);
  if (doubtful.length > 0) return { ...nothing, heldBy: doubtful };

  if (judged.every(({ isEnding }) => isEnding === true)) return { ...nothing, heldBy: [] };
  const lowest = oldest(judged.flatMap(({ from }) => from ?? []));
  if (lowest === undefined) return { ...nothing, heldBy: [] };
  const horizon = withinArchive(catalog, lowest);
  return {
    horizon,
    heldBy: judged.filter(({ from }) => from?.position === lowest.position),
    segments: segmentsBelow(catalog, horizon),
    others: othersBelow(catalog, horizon),
    segmentSizeBytes,
  };
}

/** The claim, with a doubt where its position cannot be relied on. */
function judge(catalog: Catalog, claim: Claim): Claim {
  const { from, doubt } = claim;
  if (doubt !== undefined) return claim;
  if (from === undefined) return { ...claim, doubt: "its position is not known" };
  const size = catalog.segmentSizeBytes;
  if (size !== undefined && segmentNumber(from, size) === undefined) {
    return { ...claim, doubt: `there is no segment ${from.text} of this size` };
  }
  if (!catalog.knows(from.timeline)) {
    return { ...claim, doubt: `the archive knows nothing of timeline ${from.timeline}` };
  }
  return claim;
}

function oldest(names: readonly PlacedName[]): PlacedName | undefined {
  let found: PlacedName | undefined;
  for (const name of names) if (found === undefined || isBefore(name, found)) found = name;
  return found;
}

/**
 * A position ahead of the archive counts as its end. Its newest segment always stays: without it
 * nobody could tell any more that what lies before it was there once, and a recovery that asks for
 * it would be told that its WAL ends.
 */
function withinArchive(catalog: Catalog, lowest: PlacedName): PlacedName {
  const newest = parseWalName(catalog.latest() ?? "");
  const isAhead = newest?.kind === "segment" && newest.position < lowest.position;
  return isAhead ? newest : lowest;
}

/** By position, then by name. */
function isBefore(one: PlacedName, other: PlacedName): boolean {
  if (one.position !== other.position) return one.position < other.position;
  return one.text < other.text;
}

function segmentsBelow(catalog: Catalog, horizon: PlacedName): RemovableRange[] {
  const size = catalog.segmentSizeBytes;
  const end = size === undefined ? undefined : segmentNumber(horizon, size);
  const below: RemovableRange[] = [];
  if (end === undefined) return below;
  for (const { timeline, ranges } of catalog.segmentRanges()) {
    for (const { first, last } of ranges) {
      if (first < end) below.push({ timeline, first, last: Math.min(last, end - 1) });
    }
  }
  return below.sort((a, b) => a.first - b.first || a.timeline - b.timeline);
}

function othersBelow(catalog: Catalog, horizon: PlacedName): PlacedName[] {
  const below: PlacedName[] = [];
  for (const text of catalog.otherNames()) {
    const name = parseWalName(text);
    if (name === undefined || name.kind === "history") continue;
    if (name.position < horizon.position) below.push(name);
  }
  return below.sort((a, b) => (isBefore(a, b) ? -1 : 1));
}

/** Number of files that the plan removes. */
export function removableFiles(plan: RetentionPlan): number {
  return plan.others.length + removableSegments(plan);
}

export function removableSegments({ segments }: RetentionPlan): number {
  return segments.reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

/**
 * Plain bytes of the segments and partial segments that the plan removes. Backup history files, a
 * few hundred bytes each, are not counted: their names do not tell.
 */
export function removableBytes(plan: RetentionPlan): number {
  const partials = plan.others.filter(({ kind }) => kind === "partial").length;
  return (removableSegments(plan) + partials) * (plan.segmentSizeBytes ?? 0);
}

/**
 * The names that the plan removes, one at a time and oldest first: by position, and within one
 * position by name.
 */
export function* removableNames(plan: RetentionPlan): Generator<PlacedName, void, void> {
  let next = 0;
  for (const name of removableSegmentNames(plan)) {
    for (; next < plan.others.length && isBefore(plan.others[next]!, name); next += 1) {
      yield plan.others[next]!;
    }
    yield name;
  }
  yield* plan.others.slice(next);
}

/** Merges the ranges, which lie side by side where timelines overlap. */
function* removableSegmentNames(plan: RetentionPlan): Generator<PlacedName, void, void> {
  const size = plan.segmentSizeBytes;
  if (size === undefined) return;
  const waiting = [...plan.segments].reverse(); // The next one last.
  let open: RemovableRange[] = [];
  for (let number = 0; waiting.length + open.length > 0; number += 1) {
    const from = waiting.at(-1)?.first ?? Number.POSITIVE_INFINITY;
    if (open.length === 0) number = from;
    for (; waiting.at(-1)?.first === number; waiting.pop()) open.push(waiting.at(-1)!);
    open.sort((a, b) => a.timeline - b.timeline);
    for (const { timeline } of open) yield placedName(timeline, number, size);
    open = open.filter(({ last }) => last > number);
  }
}

function placedName(timeline: number, number: number, size: number): PlacedName {
  const perLog = 2 ** 32 / size;
  const text = segmentName(timeline, number, size);
  return {
    kind: "segment",
    text,
    timeline,
    log: Math.floor(number / perLog),
    segment: number % perLog,
    position: text.slice(8),
  };
}

/** The part of a plan that lies below a position. */
export function planUpTo(plan: RetentionPlan, end: PlacedName): RetentionPlan {
  const size = plan.segmentSizeBytes;
  const number = size === undefined ? 0 : (segmentNumber(end, size) ?? 0);
  return {
    ...plan,
    segments: plan.segments
      .filter(({ first }) => first < number)
      .map((range) => ({ ...range, last: Math.min(range.last, number - 1) })),
    others: plan.others.filter(({ position }) => position < end.position),
  };
}
