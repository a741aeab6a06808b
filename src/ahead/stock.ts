/**
 * The stock: segments that were fetched before PostgreSQL asked for them. In its place are
 *
 *     000000010000000A000000FF     ready: verified and synced
 *     ….part                       under way
 *     taken                        the last segment PostgreSQL was given, and its size
 *
 * On `pg_wal`'s file system, so that a delivery is a rename.
 */
import { closeSync, constants, fstatSync, openSync, readSync, renameSync, statSync } from "node:fs";
import { checkFirstPage, FIRST_PAGE_BYTES, readFirstPage } from "../wal/first-page.ts";
import { parseWalName, type PlacedName } from "../wal/name.ts";
import { isSegmentSize } from "../wal/segment.ts";
import { PrivatePlace } from "./private-place.ts";

const PLACE = "walarc";
const PART = ".part";
const TAKEN = "taken";

/** A segment that PostgreSQL was given. */
export interface Taken {
  readonly name: PlacedName;
  readonly sizeBytes: number;
}

/** What a segment must have been fetched for to be delivered. */
export interface StockPurpose {
  readonly systemIdentifier: string;
  readonly archive: readonly string[];
}

export class Stock {
  readonly place: PrivatePlace;
  readonly #systemIdentifier: string;

  /** As `PrivatePlace.in`. */
  static in(walDirectory: string, purpose: StockPurpose): Stock | undefined {
    const place = PrivatePlace.in(walDirectory, { place: PLACE, ...purpose });
    return place && new Stock(place, purpose.systemIdentifier);
  }

  private constructor(place: PrivatePlace, systemIdentifier: string) {
    this.place = place;
    this.#systemIdentifier = systemIdentifier;
  }

  /** Where a segment is written until it is whole. */
  partOf(name: PlacedName): string {
    return this.pathOf(name) + PART;
  }

  pathOf(name: PlacedName): string {
    return this.place.pathOf(name.text);
  }

  /**
   * Renames the segment to `destination`; its size, or `undefined` when it is not there. What does
   * not look like that segment of this cluster is removed instead.
   */
  take(name: PlacedName, destination: string): number | undefined {
    const sizeBytes = this.offer(name);
    if (sizeBytes === undefined) return undefined;
    try {
      renameSync(this.pathOf(name), destination);
      return sizeBytes;
    } catch {
      this.place.discard(name.text);
      return undefined;
    }
  }

  /** As `take`, and leaves the rename to the caller. */
  offer(name: PlacedName): number | undefined {
    let descriptor: number | undefined;
    try {
      descriptor = openSync(this.pathOf(name), constants.O_RDONLY | constants.O_NOFOLLOW);
      const sizeBytes = this.#check(name, descriptor);
      // Noted first: the prefetcher must not take it for one that is missing.
      this.note({ name, sizeBytes });
      return sizeBytes;
    } catch {
      // Not there: the usual case. Or of no use, and then it is fetched as if it were not there.
      if (descriptor !== undefined) this.place.discard(name.text);
      return undefined;
    } finally {
      if (descriptor !== undefined) closeSync(descriptor);
    }
  }

  /** Throws unless the first page is that of this segment, and the length fits. */
  #check(name: PlacedName, descriptor: number): number {
    const bytes = Buffer.alloc(FIRST_PAGE_BYTES);
    const count = readSync(descriptor, bytes, 0, bytes.length, 0);
    const sizeBytes = fstatSync(descriptor).size;
    const binding = { systemIdentifier: this.#systemIdentifier };
    checkFirstPage(name, readFirstPage(bytes.subarray(0, count)), { binding, sizeBytes });
    return sizeBytes;
  }

  /** Changes with each piece of the segment that comes; `undefined` when nobody is fetching it. */
  partState(name: PlacedName): string | undefined {
    const stats = statSync(this.partOf(name), { throwIfNoEntry: false });
    return stats && `${stats.size} ${stats.mtimeMs}`;
  }

  /** Tells the prefetcher what PostgreSQL was given. */
  note({ name, sizeBytes }: Taken): void {
    this.place.write(TAKEN, `${name.text} ${sizeBytes}`);
  }

  taken(): Taken | undefined {
    const [text = "", size] = this.place.read(TAKEN)?.split(" ") ?? [];
    const name = parseWalName(text);
    const sizeBytes = Number(size);
    if (name?.kind !== "segment" || !isSegmentSize(sizeBytes)) return undefined;
    return { name, sizeBytes };
  }

  /** Names of the segments that are ready. */
  ready(): string[] {
    return this.place.names().filter((name) => parseWalName(name)?.kind === "segment");
  }
}
