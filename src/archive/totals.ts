/** How much of a cluster is stored, kept up to date while objects come and go. */
import type { ListedObject } from "../store/store.ts";
import type { ClusterArchive } from "./cluster.ts";
import { walNameAt, walPrefix } from "./keys.ts";
import { storedMetadata } from "./stored.ts";

export interface Sizes {
  readonly storedBytes: number;
  readonly plainBytes: number;
}

/**
 * A directory does not tell sizes with its names, and asking for a million takes many seconds. So
 * the count runs in the background after the start; until it ends the figures are still growing.
 */
export class Totals {
  storedBytes = 0;
  plainBytes = 0;
  readonly #cluster: ClusterArchive;
  /** Keys that came or went after the start of the count, which passes over them. */
  #counted: Set<string> | undefined;
  /** The count has passed all keys up to this one. */
  #countedTo = "";
  readonly #stop = new AbortController();
  #counting: Promise<void> | undefined;

  constructor(cluster: ClusterArchive) {
    this.#cluster = cluster;
  }

  get isComplete(): boolean {
    return this.#counting !== undefined && this.#counted === undefined;
  }

  add(key: string, sizes: Sizes): void {
    this.#counted?.add(key);
    this.storedBytes += sizes.storedBytes;
    this.plainBytes += sizes.plainBytes;
  }

  subtract(key: string, sizes: Sizes): void {
    const isInFigures =
      this.#counted === undefined || this.#counted.has(key) || key <= this.#countedTo;
    this.#counted?.add(key);
    if (!isInFigures) return;
    this.storedBytes -= sizes.storedBytes;
    this.plainBytes -= sizes.plainBytes;
  }

  /** One of `files` files went without telling its size: so much as they have on average. */
  forget(files: number): void {
    if (!this.isComplete || files <= 0) return;
    this.storedBytes -= Math.round(this.storedBytes / files);
    this.plainBytes -= Math.round(this.plainBytes / files);
  }

  startCounting(): void {
    this.#counted = new Set();
    this.#counting = this.#count().catch((error: unknown) => {
      // The figures are for people; push and fetch do not depend on them.
      const { log, name } = this.#cluster;
      if (!this.#stop.signal.aborted) log.warn({ cluster: name, err: error }, "sizes not counted");
    });
  }

  /** Resolves when the count has ended, one way or the other. */
  async counted(): Promise<void> {
    await this.#counting;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#counting;
  }

  async #count(): Promise<void> {
    const { store, name } = this.#cluster;
    const signal = this.#stop.signal;
    for await (const listed of store.list(walPrefix(name), { signal })) {
      if (!this.#counted?.has(listed.key)) await this.#countOne(listed, signal);
      this.#countedTo = listed.key;
    }
    this.#counted = undefined;
  }

  async #countOne(listed: ListedObject, signal: AbortSignal): Promise<void> {
    const { store, name: cluster, binding } = this.#cluster;
    const name = walNameAt(cluster, listed.key);
    if (name === undefined) return;
    const storedBytes =
      listed.storedBytes ?? (await store.stat(listed.key, { signal }))?.storedBytes;
    if (storedBytes === undefined) return;
    const isSegment = name.kind === "segment" || name.kind === "partial";
    let plainBytes = isSegment ? binding.segmentSizeBytes : undefined;
    if (plainBytes === undefined) {
      const metadata = await storedMetadata(this.#cluster, name, { signal });
      plainBytes = metadata === undefined || metadata === "damaged" ? 0 : metadata.sizeBytes;
    }
    // Counted by a push, or gone, while this turn waited.
    if (this.#counted?.has(listed.key)) return;
    this.storedBytes += storedBytes;
    this.plainBytes += plainBytes;
  }
}
