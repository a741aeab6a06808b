import type {
  ListedObject,
  OpenObject,
  OpenOptions,
  Signalled,
  StagedObject,
  Store,
  StoredObject,
  StoreRoom,
} from "./store.ts";

export type StoreOperation =
  | "stat"
  | "open"
  | "read"
  | "list"
  | "clusters"
  | "stage"
  | "write"
  | "publish"
  | "repair"
  | "settle"
  | "replace"
  | "remove"
  | "remove-all"
  | "probe";

export type StoreResult = "ok" | "failed" | "aborted";

export interface StoreObservation {
  readonly operation: StoreOperation;
  readonly result: StoreResult;
  readonly seconds: number;
}

/** Any store, and a callback that hears of each operation when it ends. */
export class ObservedStore implements Store {
  readonly isShared: boolean;
  readonly #inner: Store;
  readonly #observe: (observation: StoreObservation) => void;

  constructor(inner: Store, observe: (observation: StoreObservation) => void) {
    this.#inner = inner;
    this.isShared = inner.isShared;
    this.#observe = observe;
  }

  stat(key: string, options: Signalled): Promise<StoredObject | undefined> {
    return this.#timed("stat", () => this.#inner.stat(key, options));
  }

  async open(key: string, options: OpenOptions): Promise<OpenObject | undefined> {
    const object = await this.#timed("open", () => this.#inner.open(key, options));
    if (object === undefined) return undefined;
    return {
      storedBytes: object.storedBytes,
      notedSha256: object.notedSha256,
      read: (position, length) => this.#timed("read", () => object.read(position, length)),
      [Symbol.asyncDispose]: () => object[Symbol.asyncDispose](),
    };
  }

  /** The time until the first key, or the end: how long the rest takes is the reader's affair. */
  async *list(
    prefix: string,
    options: Signalled & { after?: string },
  ): AsyncGenerator<ListedObject, void, void> {
    const listing = this.#inner.list(prefix, options)[Symbol.asyncIterator]();
    try {
      let step = await this.#timed("list", () => listing.next());
      while (step.done !== true) {
        yield step.value;
        step = await listing.next();
      }
    } finally {
      await listing.return?.();
    }
  }

  clusters(options: Signalled): Promise<string[]> {
    return this.#timed("clusters", () => this.#inner.clusters(options));
  }

  async stage(cluster: string, options: Signalled): Promise<StagedObject> {
    const object = await this.#timed("stage", () => this.#inner.stage(cluster, options));
    return {
      write: (bytes) => this.#timed("write", () => object.write(bytes)),
      publish: (key, signalled) => this.#timed("publish", () => object.publish(key, signalled)),
      repair: (key, signalled) => this.#timed("repair", () => object.repair(key, signalled)),
      [Symbol.asyncDispose]: () => object[Symbol.asyncDispose](),
    };
  }

  settle(key: string, options: Signalled): Promise<void> {
    return this.#timed("settle", () => this.#inner.settle(key, options));
  }

  replace(key: string, bytes: Uint8Array, options: Signalled): Promise<void> {
    return this.#timed("replace", () => this.#inner.replace(key, bytes, options));
  }

  remove(key: string, options: Signalled): Promise<void> {
    return this.#timed("remove", () => this.#inner.remove(key, options));
  }

  removeAll(keys: readonly string[], options: Signalled): Promise<void> {
    return this.#timed("remove-all", () => this.#inner.removeAll(keys, options));
  }

  probe(options: Signalled): Promise<StoreRoom> {
    return this.#timed("probe", () => this.#inner.probe(options));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inner[Symbol.asyncDispose]();
  }

  async #timed<T>(operation: StoreOperation, step: () => Promise<T>): Promise<T> {
    const startedMs = performance.now();
    const observe = (result: StoreResult): void => {
      this.#observe({ operation, result, seconds: (performance.now() - startedMs) / 1000 });
    };
    try {
      const value = await step();
      observe("ok");
      return value;
    } catch (error) {
      observe(isAbort(error) ? "aborted" : "failed");
      throw error;
    }
  }
}

/** The caller gave up, which says nothing about the store. */
function isAbort(error: unknown): boolean {
  return error instanceof Error && ["AbortError", "TimeoutError"].includes(error.name);
}
