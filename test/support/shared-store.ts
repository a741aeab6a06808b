import type {
  ListedObject,
  OpenObject,
  Signalled,
  StagedObject,
  Store,
  StoredObject,
  StoreRoom,
} from "../../src/store/store.ts";

type Operation = "stat" | "open" | "list" | "publish" | "replace" | "remove" | "remove-all";

/**
 * What one of several daemons sees of a store: each has a view of its own, and a test may make it
 * wait or fail in front of any operation. Sizes are listed with the names, as in a bucket.
 */
export class SharedView implements Store {
  readonly isShared = true;
  /** Called in front of each operation with the first key that it concerns. */
  before: (operation: Operation, key: string) => Promise<void> | void = () => {};
  readonly done: string[] = [];
  readonly #inner: Store;

  constructor(inner: Store) {
    this.#inner = inner;
  }

  /** How often the operation was done since the count began anew. */
  count(operation: Operation): number {
    return this.done.filter((one) => one === operation).length;
  }

  async stat(key: string, options: Signalled): Promise<StoredObject | undefined> {
    await this.#enter("stat", key);
    return this.#inner.stat(key, options);
  }

  async open(key: string, options: Signalled): Promise<OpenObject | undefined> {
    await this.#enter("open", key);
    return this.#inner.open(key, options);
  }

  async *list(
    prefix: string,
    options: Signalled & { after?: string },
  ): AsyncGenerator<ListedObject, void, void> {
    await this.#enter("list", prefix);
    for await (const { key } of this.#inner.list(prefix, options)) {
      const { storedBytes } = (await this.#inner.stat(key, options)) ?? {};
      if (storedBytes !== undefined) yield { key, storedBytes };
    }
  }

  async clusters(options: Signalled): Promise<string[]> {
    return this.#inner.clusters(options);
  }

  async stage(cluster: string, options: Signalled): Promise<StagedObject> {
    const staged = await this.#inner.stage(cluster, options);
    return {
      write: (bytes) => staged.write(bytes),
      publish: async (key, signalled) => {
        await this.#enter("publish", key);
        return staged.publish(key, signalled);
      },
      repair: (key, signalled) => staged.repair(key, signalled),
      [Symbol.asyncDispose]: () => staged[Symbol.asyncDispose](),
    };
  }

  async settle(key: string, options: Signalled): Promise<void> {
    await this.#inner.settle(key, options);
  }

  async replace(key: string, bytes: Uint8Array, options: Signalled): Promise<void> {
    await this.#enter("replace", key);
    await this.#inner.replace(key, bytes, options);
  }

  async remove(key: string, options: Signalled): Promise<void> {
    await this.#enter("remove", key);
    await this.#inner.remove(key, options);
  }

  /** One by one, so that a test can stop it in the middle. */
  async removeAll(keys: readonly string[], options: Signalled): Promise<void> {
    for (const key of keys) {
      await this.#enter("remove-all", key);
      await this.#inner.remove(key, options);
    }
  }

  async probe(options: Signalled): Promise<StoreRoom> {
    return this.#inner.probe(options);
  }

  /** The store is the test's. */
  async [Symbol.asyncDispose](): Promise<void> {}

  async #enter(operation: Operation, key: string): Promise<void> {
    this.done.push(operation);
    await this.before(operation, key);
  }
}
