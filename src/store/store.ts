/**
 * Where archived WAL lives: a flat map from key to object. Keys are `/`-separated, made from
 * parsed names and never from a request; the first two parts are `clusters/{cluster}`.
 *
 * Every implementation keeps five promises, and test/store/ holds each one to them:
 *
 * 1. Durable: `publish`, `replace` and `repair` resolve only after the object and its name survive
 *    a power cut.
 * 2. Whole: a key shows a complete object or nothing, whatever dies when.
 * 3. Never replaced: publishing to a key that exists changes nothing. Of many concurrent
 *    publishers exactly one gets "created"; "exists" is promised only when the winner is durable.
 * 4. Verified: what is read back is what was written, or an error.
 * 5. Listable: keys in order, from any point.
 *
 * Operations reject with `store-failed` (full, read-only, sick, unreachable). After a rejected
 * `publish` nothing new is visible.
 */
export interface ReadableStore {
  /** Resolves to `undefined` when there is no such object. */
  stat(key: string, options: Signalled): Promise<StoredObject | undefined>;

  /** The object for positional reads, or `undefined`. Dispose it. */
  open(key: string, options: OpenOptions): Promise<OpenObject | undefined>;

  /**
   * Keys ascending, only of whole objects, only those that start with `prefix` (which ends in `/`)
   * and, when given, are greater than `after`. What is staged or damaged never shows. A million
   * keys must not become a million in memory.
   */
  list(prefix: string, options: Signalled & { after?: string }): AsyncIterable<ListedObject>;

  /** Names of the clusters that have anything stored, ascending. */
  clusters(options: Signalled): Promise<string[]>;
}

export interface Store extends ReadableStore, AsyncDisposable {
  /**
   * Whether other processes may use it at the same time, as they may a bucket. Where not, this one
   * holds a lock on it, and need not ask who else has changed what.
   */
  readonly isShared: boolean;

  /**
   * A new object that nobody can see until it is published. Dispose it: unpublished, it is gone.
   */
  stage(cluster: string, options: Signalled): Promise<StagedObject>;

  /**
   * Makes an existing object and its name as durable as `publish` would have, whoever wrote it and
   * wherever its writer died. Works on a full store.
   */
  settle(key: string, options: Signalled): Promise<void>;

  /** Puts a small state object (restart point, hold, binding) in place, whole and durable. */
  replace(key: string, bytes: Uint8Array, options: Signalled): Promise<void>;

  /** Durable when it resolves. Removing what is not there succeeds, so a retry is safe. */
  remove(key: string, options: Signalled): Promise<void>;

  /**
   * The same for many keys of one cluster, in less time than one by one. Rejects with some of them
   * removed, in no promised order.
   */
  removeAll(keys: readonly string[], options: Signalled): Promise<void>;

  /** Proves that a push could be stored now, and tells the room that is left. */
  probe(options: Signalled): Promise<StoreRoom>;
}

export interface StagedObject extends AsyncDisposable {
  /** Appends. The bytes may be reused once it resolves. */
  write(bytes: Uint8Array): Promise<void>;

  /**
   * At most once. With "exists" the caller still owns what it staged and may publish it elsewhere.
   */
  publish(key: string, options: Signalled): Promise<"created" | "exists">;

  /** Takes the place of a damaged object, which is kept under `clusters/{cluster}/damaged/`. */
  repair(key: string, options: Signalled): Promise<void>;
}

export interface StoredObject {
  readonly key: string;
  /** Size of the object as stored, in bytes. */
  readonly storedBytes: number;
}

export interface ListedObject {
  readonly key: string;
  /** Only where the listing tells it for free (a bucket does, a directory does not). */
  readonly storedBytes?: number;
}

export interface OpenOptions extends Signalled {
  /**
   * How much of it will be read, in a word: then a store far away does not bring all of it. Reading
   * more is no mistake, only slow.
   */
  readonly extent?: "whole" | "end";
}

export interface OpenObject extends AsyncDisposable {
  readonly storedBytes: number;
  /**
   * Hex digest of the plain content, as the store has noted it beside the object. Where it has, no
   * damage of what is read can hide what was archived. A directory has no place for it.
   */
  readonly notedSha256: string | undefined;
  /**
   * Exactly `length` bytes from `position`; rejects with `corrupt` when the object ends earlier.
   */
  read(position: number, length: number): Promise<Buffer>;
}

export interface StoreRoom {
  /** `undefined` where the question makes no sense (a bucket). */
  readonly freeBytes: number | undefined;
  readonly totalBytes: number | undefined;
}

export interface Signalled {
  /** Aborting stops the waiting; the operation itself may still end either way. */
  readonly signal: AbortSignal;
}
