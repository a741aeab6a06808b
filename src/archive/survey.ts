/** One look at what a shared store holds of a cluster, compared with what the catalog says. */
import type { ListedObject, Signalled } from "../store/store.ts";
import { historyName, parseWalName, type PlacedName, type WalName } from "../wal/name.ts";
import { SegmentRanges } from "../wal/ranges.ts";
import { segmentName, segmentNumber } from "../wal/segment.ts";
import type { ClusterArchive } from "./cluster.ts";
import { timelineEnd, timelinePrefix, walKey, walNameAt, walPrefix } from "./keys.ts";
import { readHistory } from "./load.ts";

/** More would be a burden in memory; what is not among them is asked for one by one. */
const SIZES_MAX = 4096;

export class Survey {
  /** Names that this daemon itself archived or removed meanwhile: what is listed of them is old. */
  readonly touched = new Set<string>();
  /** Stored bytes by name, of the first that were listed. */
  readonly sizes = new Map<string, number>();
  storedBytes = 0;
  readonly #cluster: ClusterArchive;
  readonly #segments = new Map<number, SegmentRanges>();
  readonly #others = new Set<string>();
  readonly #arrived = new SegmentRanges();

  constructor(cluster: ClusterArchive) {
    this.#cluster = cluster;
  }

  /** All WAL up to a position, on every timeline. */
  async upTo(position: string, options: Signalled): Promise<void> {
    await this.#walk(walPrefix(this.#cluster.name), options, (name) => {
      return name.kind === "history" || name.position <= position ? "on" : "next timeline";
    });
  }

  /**
   * What could make a missing file a gap: all WAL after it on its timeline, and which timelines
   * there are after that. Where nothing is, this is one request.
   */
  async after(name: WalName, options: Signalled): Promise<void> {
    const isHistory = name.kind === "history";
    const { name: cluster } = this.#cluster;
    const from = isHistory ? timelinePrefix(cluster, name.timeline) : walKey(cluster, name);
    await this.#walk(from, options, (found) => {
      const isHere = !isHistory && found.timeline === name.timeline;
      return isHere ? "on" : "next timeline";
    });
  }

  /** The end of each timeline, and all of those that nobody knew of. */
  async ends(recent: number, options: Signalled): Promise<void> {
    const { name: cluster, catalog } = this.#cluster;
    const size = catalog.segmentSizeBytes;
    const known = [...catalog.segmentRanges()].sort((a, b) => a.timeline - b.timeline);
    const newest = known.at(-1)?.timeline;
    if (size === undefined || newest === undefined) {
      await this.upTo("~", options);
      return;
    }
    for (const { timeline, ranges } of known) {
      const last = ranges.at(-1)?.last ?? 0;
      const from = walKey(cluster, nameOf(timeline, Math.max(0, last - recent), size));
      await this.#walk(from, options, (found) => {
        return timeline === newest || found.timeline === timeline ? "on" : "end";
      });
    }
  }

  /** Names of the catalog up to a position that were not listed. */
  *vanished(position: string): Generator<PlacedName, void, void> {
    const { catalog } = this.#cluster;
    const size = catalog.segmentSizeBytes;
    const end = parseWalName(`00000001${position}`);
    if (size === undefined || end === undefined) return;
    for (const { timeline, ranges } of catalog.segmentRanges().toArray()) {
      const listed = this.#segments.get(timeline) ?? new SegmentRanges();
      for (const { first, last } of ranges.slice()) {
        for (const gap of listed.gaps(first, last)) {
          for (let number = gap.first; number <= gap.last; number += 1) {
            const name = nameOf(timeline, number, size);
            if (name.position > position) break;
            if (!this.touched.has(name.text)) yield name;
          }
        }
      }
    }
    for (const text of catalog.otherNames()) {
      const name = parseWalName(text);
      if (name === undefined || name.kind === "history" || name.position > position) continue;
      if (!this.#others.has(text) && !this.touched.has(text)) yield name;
    }
  }

  /** Segments that the catalog has learned of. */
  get arrived(): SegmentRanges {
    return this.#arrived;
  }

  /** Keys after `from`, as long as `judge` wants them, timeline by timeline. */
  async #walk(
    from: string,
    options: Signalled,
    judge: (name: WalName) => "on" | "next timeline" | "end",
  ): Promise<void> {
    const { name: cluster, store } = this.#cluster;
    for (let after: string | undefined = from; after !== undefined; ) {
      const start: string = after;
      after = undefined;
      for await (const listed of store.list(walPrefix(cluster), { ...options, after: start })) {
        const name = walNameAt(cluster, listed.key);
        if (name === undefined) continue;
        const verdict = judge(name);
        if (verdict === "end") return;
        await this.#learn(name, listed, options);
        if (verdict === "on") continue;
        await this.#learnHistory(name.timeline, options);
        after = timelineEnd(cluster, name.timeline);
        break;
      }
    }
  }

  async #learn(name: WalName, listed: ListedObject, options: Signalled): Promise<void> {
    const { storedBytes = 0 } = listed;
    this.#note(name, storedBytes);
    const { catalog } = this.#cluster;
    if (catalog.holds(name) || this.touched.has(name.text)) return;
    if (name.kind === "history") return this.#learnHistory(name.timeline, options);
    if (catalog.segmentSizeBytes === undefined) await this.#cluster.relearnBinding(options);
    const size = this.#cluster.catalog.segmentSizeBytes;
    const number = size === undefined ? undefined : segmentNumber(name, size);
    if (name.kind === "segment" && number === undefined) return; // Nothing that a push has checked.
    const plainBytes = name.kind === "backup" ? 0 : (size ?? 0);
    this.#cluster.learned(name, { sizes: { storedBytes, plainBytes }, history: undefined });
    if (name.kind === "segment" && number !== undefined) this.#arrived.add(number);
  }

  /** The history of a timeline decides what is a gap on its parents. */
  async #learnHistory(timeline: number, options: Signalled): Promise<void> {
    const { catalog } = this.#cluster;
    const name: WalName = { kind: "history", text: historyName(timeline), timeline };
    if (timeline === 1 || catalog.holds(name) || this.touched.has(name.text)) return;
    const found = await readHistory(this.#cluster, name, options);
    if (found === undefined) return;
    this.#cluster.learned(name, found);
  }

  #note(name: WalName, storedBytes: number): void {
    this.storedBytes += storedBytes;
    if (this.sizes.size < SIZES_MAX) this.sizes.set(name.text, storedBytes);
    const size = this.#cluster.catalog.segmentSizeBytes;
    const number =
      name.kind === "segment" && size !== undefined ? segmentNumber(name, size) : undefined;
    if (number === undefined) {
      this.#others.add(name.text);
      return;
    }
    let ranges = this.#segments.get(name.timeline);
    if (ranges === undefined) this.#segments.set(name.timeline, (ranges = new SegmentRanges()));
    ranges.add(number);
  }
}

function nameOf(timeline: number, number: number, size: number): PlacedName {
  const name = parseWalName(segmentName(timeline, number, size));
  if (name?.kind !== "segment") throw new RangeError(`segment number ${number}`);
  return name;
}
