import { dirname } from "node:path";
import { errno } from "./failure.ts";
import type { FileSystem } from "./file-system.ts";

/**
 * What is known of the directories of a store: which must be there, and whose names are durable.
 *
 * A file that survives in a directory that does not has not survived. So once per process each
 * directory's parent is synced, up to the root of the store, even of those that were there before
 * us: whoever made them may have died before syncing.
 */
export class Directories {
  readonly #fileSystem: FileSystem;
  readonly #known = new Set<string>();
  readonly #settled = new Set<string>();
  /** Beginnings and ends of `discard`. */
  #discards = 0;

  /** `root` is durable already; nothing above it is touched. */
  constructor(root: string, fileSystem: FileSystem) {
    this.#known.add(root);
    this.#settled.add(root);
    this.#fileSystem = fileSystem;
  }

  isKnown(path: string): boolean {
    return this.#known.has(path);
  }

  /** From now on `path` must be there. */
  know(path: string): void {
    this.#known.add(path);
  }

  /**
   * Makes what is missing of `path`, which is below the root. What was known once is never made
   * again: when it is gone, somebody removed it, and that must not look like a new store.
   */
  async make(path: string): Promise<void> {
    if (this.#known.has(path)) return;
    await this.make(dirname(path));
    const discards = this.#discards;
    if ((await this.#fileSystem.makeDirectory(path)) === "made") this.#settled.delete(path);
    // What is discarded meanwhile may be this one.
    if (discards === this.#discards) this.#known.add(path);
  }

  /**
   * Removes `path` if it is empty; from then on it may be made again. Who was about to put
   * something there fails, once.
   */
  async discard(path: string): Promise<void> {
    this.#discards += 1;
    const outcome = await this.#fileSystem.removeDirectory(path);
    this.#discards += 1;
    if (outcome === "removed") this.#known.delete(path);
  }

  /** Makes `path` even when it was known, for directories that a person may tidy away. */
  async makeAgain(path: string): Promise<void> {
    await this.make(dirname(path));
    if ((await this.#fileSystem.makeDirectory(path)) === "made") this.#settled.delete(path);
    this.#known.add(path);
  }

  /** Makes every name in `path` durable, and `path` itself. */
  async settle(path: string): Promise<void> {
    await this.#sync(path);
    const unsettled = [];
    for (let at = path; !this.#settled.has(at); at = dirname(at)) unsettled.push(at);
    for (const at of unsettled) await this.#sync(dirname(at));
    // Only now: one that counts as settled ends the way up for those below it.
    for (const at of unsettled) this.#settled.add(at);
  }

  async #sync(path: string): Promise<void> {
    const synced = await this.#fileSystem.syncDirectory(path);
    if (synced === "absent") throw errno("ENOENT", `the directory "${path}" is gone`);
  }
}
