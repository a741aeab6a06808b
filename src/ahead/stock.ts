/**
 * The stock: segments that were fetched before PostgreSQL asked for them.
 *
 *     pg_wal/pgsql_tmp.walarc/KEY/
 *         owner                      the prefetcher that fills it: process id and start
 *         taken                      the last segment PostgreSQL was given, and its size
 *         000000010000000A000000FF   ready: verified and synced
 *         ….part                     under way
 *
 * The key is a digest of all that a segment must fit to. On `pg_wal`'s file system a delivery is a
 * rename; and what begins with `pgsql_tmp` PostgreSQL's own tools know for worthless: backups leave
 * it out, pg_rewind does not copy it and removes it (filemap.c).
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { checkFirstPage, FIRST_PAGE_BYTES, readFirstPage } from "../wal/first-page.ts";
import { parseWalName, type PlacedName } from "../wal/name.ts";
import { isSegmentSize } from "../wal/segment.ts";
import { isThere } from "./process.ts";

const DIRECTORY = "pgsql_tmp.walarc";
const PART = ".part";
const [OWNER, TAKEN] = ["owner", "taken"];

/** What a segment must have been fetched for to be delivered. */
export interface Purpose {
  /** Of the database cluster, decimal. */
  readonly systemIdentifier: string;
  /** Where it was fetched, and as whom. */
  readonly source: readonly string[];
}

/** A segment that PostgreSQL was given. */
export interface Taken {
  readonly name: PlacedName;
  readonly sizeBytes: number;
}

export class Stock {
  readonly #parent: string;
  readonly #directory: string;
  readonly #systemIdentifier: string;

  /**
   * The stock beside `pg_wal`'s segments. `undefined` where it could not be told apart from one of
   * another directory or another boot. Nothing is created.
   */
  static in(walDirectory: string, purpose: Purpose): Stock | undefined {
    try {
      const places = [".", walDirectory].map((path) => {
        const { dev, ino } = statSync(path, { bigint: true });
        return `${dev}:${ino}`;
      });
      // After a power cut nobody knows what of it is left: then nothing fits any more.
      const boot = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
      const parts = [boot, ...places, purpose.systemIdentifier, ...purpose.source];
      const key = createHash("sha256")
        .update(Buffer.from(JSON.stringify(parts)))
        .digest("hex");
      return new Stock(join(walDirectory, DIRECTORY), key.slice(0, 32), purpose.systemIdentifier);
    } catch {
      return undefined;
    }
  }

  private constructor(parent: string, key: string, systemIdentifier: string) {
    this.#parent = parent;
    this.#directory = join(parent, key);
    this.#systemIdentifier = systemIdentifier;
  }

  /** Where a segment is written until it is whole. */
  partOf(name: PlacedName): string {
    return this.pathOf(name) + PART;
  }

  pathOf(name: PlacedName): string {
    return join(this.#directory, name.text);
  }

  /**
   * Renames the segment to `destination`; its size, or `undefined` when it is not there. What does
   * not look like that segment of this cluster is removed instead.
   */
  take(name: PlacedName, destination: string): number | undefined {
    const path = this.pathOf(name);
    let descriptor: number | undefined;
    try {
      descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
      const sizeBytes = this.#check(name, descriptor);
      // Noted first: the prefetcher must not take it for one that is missing.
      this.note({ name, sizeBytes });
      renameSync(path, destination);
      return sizeBytes;
    } catch {
      // Not there: the usual case. Or of no use, and then it is fetched as if it were not there.
      if (descriptor !== undefined) discardFile(path);
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

  /** How much of the segment is there; `undefined` when nobody is fetching it. */
  partBytes(name: PlacedName): number | undefined {
    return statSync(this.partOf(name), { throwIfNoEntry: false })?.size;
  }

  /** Whether a living prefetcher fills this stock. */
  isOwned(): boolean {
    const owner = this.#read(OWNER);
    return owner !== undefined && isThere(owner);
  }

  isOwnedBy(identity: string): boolean {
    return this.#read(OWNER) === identity;
  }

  /** Makes room for a new prefetcher, which starts from `taken`; removes every other stock here. */
  prepare(taken: Taken): void {
    rmSync(this.#parent, { recursive: true, force: true });
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    this.note(taken);
  }

  /** Makes this process the one that fills the stock. */
  entrust(identity: string): void {
    this.#write(OWNER, identity);
  }

  /** Tells the prefetcher what PostgreSQL was given. */
  note({ name, sizeBytes }: Taken): void {
    this.#write(TAKEN, `${name.text} ${sizeBytes}`);
  }

  taken(): Taken | undefined {
    const [text = "", size] = this.#read(TAKEN)?.split(" ") ?? [];
    const name = parseWalName(text);
    const sizeBytes = Number(size);
    if (name?.kind !== "segment" || !isSegmentSize(sizeBytes)) return undefined;
    return { name, sizeBytes };
  }

  /** Names of the segments that are ready. */
  ready(): string[] {
    return readdirSync(this.#directory).filter((name) => parseWalName(name)?.kind === "segment");
  }

  discard(name: string): void {
    discardFile(join(this.#directory, name));
  }

  /** Leaves nothing behind. */
  remove(): void {
    try {
      rmSync(this.#directory, { recursive: true, force: true });
      rmdirSync(this.#parent);
    } catch {
      // The data directory is gone, or there is another stock.
    }
  }

  #read(file: string): string | undefined {
    try {
      return readFileSync(join(this.#directory, file), "latin1");
    } catch {
      return undefined;
    }
  }

  /** By a rename: who reads it never finds half of it. */
  #write(file: string, text: string): void {
    const temporary = join(this.#directory, `${file}.${process.pid}`);
    writeFileSync(temporary, text, { mode: 0o600 });
    renameSync(temporary, join(this.#directory, file));
  }
}

function discardFile(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Taken meanwhile, or never there.
  }
}
