import type { TimelineHistory, TimelineSwitch } from "./history.ts";
import { type Lineage, readLineage } from "./lineage.ts";
import { historyName, type PlacedName, type WalName } from "./name.ts";
import { type SegmentRange, SegmentRanges } from "./ranges.ts";
import {
  formatLsn,
  isSegmentSize,
  segmentName,
  segmentNumber,
  segmentNumberOf,
} from "./segment.ts";
import type { ArchivedRange, Gap, TimelineStatus } from "./timeline-status.ts";

/** The archived segments of one timeline. */
export interface TimelineSegments {
  readonly timeline: number;
  readonly ranges: readonly SegmentRange[];
}

/**
 * What the archive of one cluster holds, in memory: a few ranges per timeline, however many
 * segments there are.
 *
 * The segment size turns names into places, and the first segment brings it: until it is bound the
 * catalog takes every other kind of WAL file, holds no segment, and knows no gap.
 */
export class Catalog {
  readonly #segments = new Map<number, SegmentRanges>();
  readonly #others = new Set<string>();
  readonly #histories = new Map<number, TimelineHistory>();
  #segmentSizeBytes: number | undefined;
  #lineage: Lineage | undefined;

  get segmentSizeBytes(): number | undefined {
    return this.#segmentSizeBytes;
  }

  /** Number of archived segments. */
  get segments(): number {
    let count = 0;
    for (const ranges of this.#segments.values()) count += ranges.count;
    return count;
  }

  /** Number of archived WAL files of all kinds. */
  get files(): number {
    return this.segments + this.#others.size;
  }

  /** Names of what is archived beside segments, in no order. */
  otherNames(): string[] {
    return [...this.#others];
  }

  /** Names of the archived segments after `after`, ascending as strings. */
  *segmentNames(after: string): Generator<string, void, void> {
    for (const timeline of [...this.#segments.keys()].sort((a, b) => a - b)) {
      for (const range of this.#segments.get(timeline)?.ranges() ?? []) {
        if (this.#nameOf(timeline, range.last) <= after) continue;
        for (let n = this.#firstAfter(after, timeline, range); n <= range.last; n += 1) {
          yield this.#nameOf(timeline, n);
        }
      }
    }
  }

  /** Archived segments by number, per timeline in no order. */
  *segmentRanges(): Generator<TimelineSegments, void, void> {
    for (const [timeline, ranges] of this.#segments) yield { timeline, ranges: ranges.ranges() };
  }

  /** Whether any archived WAL file is of this timeline, or is a history that names it. */
  knows(timeline: number): boolean {
    const { origins, departures } = this.#readLineage();
    if ([this.#segments, origins, departures].some((map) => map.has(timeline))) return true;
    const digits = historyName(timeline).slice(0, 8);
    return this.#others.values().some((name) => name.startsWith(digits));
  }

  /** Of all segments missing in `timelines()`: how many. */
  get gapSegments(): number {
    let count = 0;
    for (const { gaps } of this.timelines()) {
      for (const gap of gaps) count += gap.segments;
    }
    return count;
  }

  /** The size never changes once bound. */
  bindSegmentSize(bytes: number): void {
    if (!isSegmentSize(bytes)) throw new RangeError(`${bytes} is not a segment size`);
    if (this.#segmentSizeBytes !== undefined && this.#segmentSizeBytes !== bytes) {
      throw new RangeError(`the segment size is ${this.#segmentSizeBytes}, not ${bytes}`);
    }
    this.#segmentSizeBytes = bytes;
  }

  /**
   * Takes note of an archived WAL file. A history file's name makes it held, its content arrives by
   * `addHistory`. Throws for a segment no checked push can bring: none is possible yet, or not with
   * this segment size.
   */
  add(name: WalName): void {
    if (name.kind !== "segment") {
      this.#others.add(name.text);
      return;
    }
    const number = this.#numberOf(name);
    if (number === undefined) {
      throw new RangeError(`${name.text} with segment size ${this.#segmentSizeBytes ?? "unknown"}`);
    }
    let ranges = this.#segments.get(name.timeline);
    if (ranges === undefined) {
      ranges = new SegmentRanges();
      this.#segments.set(name.timeline, ranges);
    }
    ranges.add(number);
  }

  /** Takes note of what an archived history file says. */
  addHistory(history: TimelineHistory): void {
    this.#others.add(historyName(history.timeline));
    this.#histories.set(history.timeline, history);
    this.#lineage = undefined;
  }

  remove(name: WalName): void {
    if (name.kind !== "segment") {
      this.#others.delete(name.text);
      if (name.kind === "history" && this.#histories.delete(name.timeline)) {
        this.#lineage = undefined;
      }
      return;
    }
    const number = this.#numberOf(name);
    if (number !== undefined) this.#segments.get(name.timeline)?.remove(number);
  }

  holds(name: WalName): boolean {
    if (name.kind !== "segment") return this.#others.has(name.text);
    const number = this.#numberOf(name);
    return number !== undefined && this.#segments.get(name.timeline)?.has(number) === true;
  }

  /**
   * What it means that `name` is not held. It is a gap when the timeline goes on after it: a later
   * segment is archived, or a history file tells of a child that left the timeline later. Not
   * before the timeline's first segment, though: what lies there belongs to its parents.
   *
   * A missing history file is a gap when its timeline has left traces, and WAL of an older one is
   * archived: a recovery from there would never learn of the timeline, and open the older one.
   */
  missing(name: WalName): "gap" | "absent" {
    if (name.kind === "history") return this.#isKnownLater(name.timeline) ? "gap" : "absent";
    const number = name.kind === "segment" ? this.#numberOf(name) : undefined;
    if (number === undefined) return "absent";
    const first = this.#firstSegment(name.timeline);
    const last = this.#lastSegment(name.timeline);
    const isBeyond = last === undefined || number > last;
    return isBeyond || (first !== undefined && number < first) ? "absent" : "gap";
  }

  /** Not where the archive itself began on the timeline: its history file was never sent here. */
  #isKnownLater(timeline: number): boolean {
    const hasTraces = this.#segments.has(timeline) || this.#readLineage().departures.has(timeline);
    return hasTraces && [...this.#segments.keys()].some((other) => other < timeline);
  }

  /** The name of the archived segment that ends last; of several the one of the newest timeline. */
  latest(): string | undefined {
    let latest: { timeline: number; last: number } | undefined;
    for (const [timeline, { last }] of this.#segments) {
      if (last === undefined) continue;
      const isLater = latest === undefined || last > latest.last;
      const isNewer = last === latest?.last && timeline > latest.timeline;
      if (isLater || isNewer) latest = { timeline, last };
    }
    return latest && this.#nameOf(latest.timeline, latest.last);
  }

  /**
   * The timelines of which something is held or missing, in order.
   *
   * Retention removes whole positions, whatever their timeline, so what is missing below the oldest
   * segment of all is no gap here (a fetch of it still is one, since later WAL exists).
   */
  timelines(): TimelineStatus[] {
    const { origins, departures } = this.#readLineage();
    const known = [...this.#segments.keys(), ...this.#histories.keys(), ...departures.keys()];
    const timelines: TimelineStatus[] = [];
    for (const timeline of [...new Set(known)].sort((a, b) => a - b)) {
      const origin = origins.get(timeline);
      const status = {
        timeline,
        parent: origin?.timeline ?? null,
        switchLsn: origin === undefined ? null : formatLsn(origin.switchLsn),
        ranges: this.#rangesOf(timeline),
        gaps: this.#gapsOf(timeline),
      };
      const isHeld = status.ranges.length > 0 || this.#histories.has(timeline);
      if (isHeld || status.gaps.length > 0) timelines.push(status);
    }
    return timelines;
  }

  /** The lowest number of a range whose name is greater than `after`, where its last one's is. */
  #firstAfter(after: string, timeline: number, range: SegmentRange): number {
    let { first: low, last: high } = range;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.#nameOf(timeline, middle) <= after) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #rangesOf(timeline: number): ArchivedRange[] {
    const ranges = this.#segments.get(timeline)?.ranges() ?? [];
    return ranges.map(({ first, last }) => ({
      first: this.#nameOf(timeline, first),
      last: this.#nameOf(timeline, last),
      segments: last - first + 1,
    }));
  }

  #gapsOf(timeline: number): Gap[] {
    const held = this.#segments.get(timeline) ?? new SegmentRanges();
    const first = this.#firstSegment(timeline);
    const from = first === undefined ? held.first : Math.max(first, this.#oldestSegment());
    const last = this.#lastSegment(timeline);
    if (from === undefined || last === undefined) return [];
    return held.gaps(from, last).map((gap) => this.#describeGap(timeline, gap));
  }

  #describeGap(timeline: number, { first, last }: SegmentRange): Gap {
    const { origins, departures } = this.#readLineage();
    const parent = first === this.#firstSegment(timeline) ? origins.get(timeline) : undefined;
    const isHeldAfter = last < (this.#segments.get(timeline)?.last ?? -1);
    const child = isHeldAfter ? undefined : departures.get(timeline);
    return {
      after: first === 0 ? null : this.#nameOf(parent?.timeline ?? timeline, first - 1),
      before: this.#nameOf(child?.timeline ?? timeline, last + 1),
      segments: last - first + 1,
    };
  }

  /** The segment a timeline begins in: where it left its parent. `undefined` when nobody says. */
  #firstSegment(timeline: number): number | undefined {
    return this.#segmentAt(this.#readLineage().origins.get(timeline));
  }

  /**
   * The last segment of a timeline that is known to have been written, archived or not. The segment
   * in which a child leaves is not needed from the parent: the child's own begins with a copy. Nor
   * is it when the child leaves at its very start. Either way the one before it is the last.
   */
  #lastSegment(timeline: number): number | undefined {
    const held = this.#segments.get(timeline)?.last;
    const left = this.#segmentAt(this.#readLineage().departures.get(timeline));
    if (left === undefined) return held;
    return Math.max(held ?? -1, left - 1);
  }

  #segmentAt(point: TimelineSwitch | undefined): number | undefined {
    if (point === undefined || this.#segmentSizeBytes === undefined) return undefined;
    return segmentNumberOf(point.switchLsn, this.#segmentSizeBytes);
  }

  /** The lowest archived number of any timeline. */
  #oldestSegment(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const { first } of this.#segments.values()) {
      if (first !== undefined && first < oldest) oldest = first;
    }
    return oldest;
  }

  #readLineage(): Lineage {
    this.#lineage ??= readLineage(this.#histories.values());
    return this.#lineage;
  }

  #numberOf(name: PlacedName): number | undefined {
    if (this.#segmentSizeBytes === undefined) return undefined;
    return segmentNumber(name, this.#segmentSizeBytes);
  }

  #nameOf(timeline: number, number: number): string {
    if (this.#segmentSizeBytes === undefined) throw new TypeError("no segment size is bound");
    return segmentName(timeline, number, this.#segmentSizeBytes);
  }
}
