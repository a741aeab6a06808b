import { clusterOfKey, clusterOfPrefix } from "./key.ts";
import { Lane, type LaneOptions } from "./lane.ts";
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

/** Several steps of a listing go through the lane as one. */
const LISTED_AT_ONCE = 1000;

const DEFAULTS: LaneOptions = { limit: 6, deadlineMs: 30_000, sickAfterMs: 10_000 };

/**
 * Any store, with a lane for each cluster: storage of one cluster that hangs takes its own few
 * operations with it, and no other cluster's. What concerns no single cluster has lanes of its own.
 *
 * A `publish` that a caller has left at its deadline may still succeed later, whole and durable.
 */
export class LanedStore implements Store {
  readonly isShared: boolean;
  readonly #inner: Store;
  readonly #options: LaneOptions;
  readonly #lanes = new Map<string, Lane>();

  constructor(inner: Store, options: Partial<LaneOptions> = {}) {
    this.#inner = inner;
    this.isShared = inner.isShared;
    this.#options = { ...DEFAULTS, ...options };
  }

  /** What does not answer now, for people: `cluster "main"`, `the probe`; and whose it is. */
  sick(): { subject: string; cluster: string | undefined }[] {
    const sick = [...this.#lanes].filter(([, lane]) => lane.isSick);
    return sick.map(([subject]) => ({ subject, cluster: clusterIn(subject) }));
  }

  async stat(key: string, options: Signalled): Promise<StoredObject | undefined> {
    return this.#laneOfKey(key).run(() => this.#inner.stat(key, options), options);
  }

  async open(key: string, options: OpenOptions): Promise<OpenObject | undefined> {
    const object = await this.#laneOfKey(key).run(() => this.#inner.open(key, options), {
      signal: options.signal,
      abandon: (late) => this.#discard(subjectOf(clusterOfKey(key)), late),
    });
    if (object === undefined) return undefined;
    const use = new LanedUse(() => this.#laneOfKey(key), object);
    return {
      storedBytes: object.storedBytes,
      notedSha256: object.notedSha256,
      read: (position, length) => use.run(() => object.read(position, length)),
      [Symbol.asyncDispose]: () => use[Symbol.asyncDispose](),
    };
  }

  async *list(
    prefix: string,
    options: Signalled & { after?: string },
  ): AsyncGenerator<ListedObject, void, void> {
    const cluster = clusterOfPrefix(prefix);
    const subject = cluster === undefined ? "the listing" : subjectOf(cluster);
    const listing = this.#inner.list(prefix, options)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const objects = await this.#lane(subject).run(() => take(listing), options);
        yield* objects;
        if (objects.length < LISTED_AT_ONCE) return;
      }
    } finally {
      await this.#lane(subject).finish(async () => void (await listing.return?.()));
    }
  }

  async clusters(options: Signalled): Promise<string[]> {
    return this.#lane("the listing").run(() => this.#inner.clusters(options), options);
  }

  async stage(cluster: string, options: Signalled): Promise<StagedObject> {
    const subject = subjectOf(cluster);
    const object = await this.#lane(subject).run(() => this.#inner.stage(cluster, options), {
      signal: options.signal,
      abandon: (late) => this.#discard(subject, late),
    });
    const use = new LanedUse(() => this.#lane(subject), object);
    return {
      write: (bytes) => use.run(() => object.write(bytes)),
      publish: (key, options) => use.run(() => object.publish(key, options), options),
      repair: (key, options) => use.run(() => object.repair(key, options), options),
      [Symbol.asyncDispose]: () => use[Symbol.asyncDispose](),
    };
  }

  async settle(key: string, options: Signalled): Promise<void> {
    return this.#laneOfKey(key).run(() => this.#inner.settle(key, options), options);
  }

  async replace(key: string, bytes: Uint8Array, options: Signalled): Promise<void> {
    return this.#laneOfKey(key).run(() => this.#inner.replace(key, bytes, options), options);
  }

  async remove(key: string, options: Signalled): Promise<void> {
    return this.#laneOfKey(key).run(() => this.#inner.remove(key, options), options);
  }

  async removeAll(keys: readonly string[], options: Signalled): Promise<void> {
    const [key] = keys;
    if (key === undefined) return;
    await this.#laneOfKey(key).run(() => this.#inner.removeAll(keys, options), options);
  }

  async probe(options: Signalled): Promise<StoreRoom> {
    return this.#lane("the probe").run(() => this.#inner.probe(options), options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inner[Symbol.asyncDispose]();
  }

  #laneOfKey(key: string): Lane {
    return this.#lane(subjectOf(clusterOfKey(key)));
  }

  /** The lane as long as anything is in it; one that is idle remembers nothing worth keeping. */
  #lane(subject: string): Lane {
    const found = this.#lanes.get(subject);
    if (found !== undefined) return found;
    for (const [other, lane] of this.#lanes) if (lane.isIdle) this.#lanes.delete(other);
    const lane = new Lane(subject, this.#options);
    this.#lanes.set(subject, lane);
    return lane;
  }

  /** What came too late for its caller. */
  #discard(subject: string, late: AsyncDisposable | undefined): void {
    if (late === undefined) return;
    void this.#lane(subject).finish(async () => late[Symbol.asyncDispose]());
  }
}

/**
 * One object in its lane: disposing it waits for its operations, those too that callers have left.
 */
class LanedUse implements AsyncDisposable {
  readonly #lane: () => Lane;
  readonly #object: AsyncDisposable;
  readonly #running = new Set<Promise<unknown>>();

  constructor(lane: () => Lane, object: AsyncDisposable) {
    this.#lane = lane;
    this.#object = object;
  }

  run<T>(operation: () => Promise<T>, options?: Signalled): Promise<T> {
    return this.#lane().run(async () => {
      const running = operation();
      this.#running.add(running);
      try {
        return await running;
      } finally {
        this.#running.delete(running);
      }
    }, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const dispose = async (): Promise<void> => this.#object[Symbol.asyncDispose]();
    await this.#lane().finish(dispose, [...this.#running]);
  }
}

function subjectOf(cluster: string): string {
  return `cluster "${cluster}"`;
}

function clusterIn(subject: string): string | undefined {
  return /^cluster "(.*)"$/.exec(subject)?.[1];
}

async function take(listing: AsyncIterator<ListedObject>): Promise<ListedObject[]> {
  const objects: ListedObject[] = [];
  while (objects.length < LISTED_AT_ONCE) {
    const step = await listing.next();
    if (step.done === true) break;
    objects.push(step.value);
  }
  return objects;
}
