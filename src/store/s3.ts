import { randomUUID } from "node:crypto";
import { basename } from "node:path";
import { isFailure, WalarcError } from "../errors.ts";
import { MemoryBudget } from "../object/verify.ts";
import { clusterOfKey } from "./key.ts";
import { Admission } from "./s3/admission.ts";
import { StagedContent } from "./s3/content.ts";
import { Creation, notedDigest } from "./s3/creation.ts";
import { isMissing, requireEtag } from "./s3/failure.ts";
import { listClusters, listObjects } from "./s3/listing.ts";
import { bodyOf, PROBES } from "./s3/probe.ts";
import { openObject, PiecemealObject } from "./s3/reading.ts";
import { removeObject, removeObjects } from "./s3/removal.ts";
import { Retries } from "./s3/retries.ts";
import type { BucketConfig } from "../config/config.ts";
import type { BucketRequests, Found, RequestObservation } from "./s3/wire.ts";
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

const MB = 1024 * 1024;
/** Objects being pushed, of all clusters together; what does not fit waits in a file. */
const STAGED_BYTES_MAX = 104 * MB;
/** Objects being fetched; what does not fit is read piece by piece. */
const OPEN_BYTES_MAX = 96 * MB;

/** So long the start waits for a bucket that does not answer, before it goes on without. */
const START_PATIENCE_MS = 10_000;
/** A put that succeeded so recently says as much as a probe. Each one has its price. */
const PROBE_INTERVAL_MS = 30_000;

export interface S3StoreOptions {
  /** Hears of each request when it ends. */
  readonly observe?: (observation: RequestObservation) => void;
  /** The first pause before another attempt, where the usual one is too long. */
  readonly pauseMs?: number;
}

/**
 * The store's promises on an S3 bucket, which any number of processes share. A server that cannot
 * keep them is refused; one that is away is waited for, operation by operation.
 *
 * A rejected `publish` may have stored the object all the same, when it was the answer that got
 * lost. It is whole and durable then, and the next push of the name finds it.
 */
export class S3Store implements Store {
  readonly isShared = true;
  readonly #bucket: BucketRequests;
  readonly #retries: Retries;
  readonly #admission: Admission;
  readonly #staged = new MemoryBudget(STAGED_BYTES_MAX);
  readonly #opened = new MemoryBudget(OPEN_BYTES_MAX);
  readonly #probeKey = `${PROBES}${randomUUID()}`;
  #probedAtMs: number | undefined;

  private constructor(bucket: BucketRequests, settings: BucketConfig, options: S3StoreOptions) {
    this.#bucket = bucket;
    this.#retries = new Retries(bucket, {
      requestTimeoutMs: settings.requestTimeoutMs,
      pauseMs: options.pauseMs,
      observe: (observation) => {
        this.#note(observation);
        options.observe?.(observation);
      },
    });
    this.#admission = new Admission(this.#retries, { bucket, settings });
  }

  /**
   * Resolves also when the bucket does not answer or does not let us in yet: every operation asks
   * again. Rejects with `usage` when it never will do: a server that overwrites, a format that we
   * do not know, credentials that are no such thing.
   */
  static async open(settings: BucketConfig, options: S3StoreOptions = {}): Promise<S3Store> {
    const { Bucket } = await import("./s3/bucket.ts");
    const store = new S3Store(new Bucket(settings), settings, options);
    const patience = AbortSignal.timeout(START_PATIENCE_MS);
    try {
      await store.#admission.enter({ signal: patience });
    } catch (error) {
      if (!patience.aborted && !isFailure(error, "store-failed")) {
        await store[Symbol.asyncDispose]();
        throw error;
      }
    }
    return store;
  }

  async stat(key: string, options: Signalled): Promise<StoredObject | undefined> {
    clusterOfKey(key);
    await this.#admission.require(options);
    const found = await this.#head(key, options);
    return found === undefined ? undefined : { key, storedBytes: found.sizeBytes ?? 0 };
  }

  async open(key: string, options: OpenOptions): Promise<OpenObject | undefined> {
    clusterOfKey(key);
    await this.#admission.require(options);
    if (options.extent === "end") {
      const found = await this.#head(key, options);
      return found === undefined ? undefined : new PiecemealObject(this.#retries, { key, found });
    }
    return await openObject(this.#retries, key, { ...options, budget: this.#opened });
  }

  async *list(
    prefix: string,
    options: Signalled & { after?: string },
  ): AsyncGenerator<ListedObject, void, void> {
    await this.#admission.require(options);
    yield* listObjects(this.#retries, prefix, options);
  }

  async clusters(options: Signalled): Promise<string[]> {
    await this.#admission.require(options);
    return await listClusters(this.#retries, options);
  }

  /** Asks nobody: what is staged is in this process alone. */
  async stage(_cluster: string, { signal }: Signalled): Promise<StagedObject> {
    signal.throwIfAborted();
    const content = new StagedContent(this.#staged);
    return {
      write: (bytes) => content.write(bytes),
      publish: (key, options) => this.#publish(content, key, options),
      repair: (key, options) => this.#repair(content, key, options),
      [Symbol.asyncDispose]: () => content[Symbol.asyncDispose](),
    };
  }

  /** What the server has acknowledged is durable, so it is enough that the object is there. */
  async settle(key: string, options: Signalled): Promise<void> {
    if ((await this.stat(key, options)) !== undefined) return;
    throw new WalarcError("store-failed", `there is no "${key}" to settle`);
  }

  async replace(key: string, bytes: Uint8Array, options: Signalled): Promise<void> {
    clusterOfKey(key);
    const creation = await this.#creation(options);
    await using content = new StagedContent(this.#staged);
    await content.write(bytes);
    await creation.replace({ key, body: content.seal(), ...options });
  }

  async remove(key: string, options: Signalled): Promise<void> {
    clusterOfKey(key);
    await this.#admission.require(options);
    await removeObject(this.#retries, key, options);
  }

  async removeAll(keys: readonly string[], options: Signalled): Promise<void> {
    for (const key of keys) clusterOfKey(key);
    const { removeMany } = await this.#admission.require(options);
    await removeObjects(this.#retries, keys, { ...options, removeMany });
  }

  /** A bucket has no size. */
  async probe(options: Signalled): Promise<StoreRoom> {
    const creation = await this.#creation(options);
    if (
      this.#probedAtMs === undefined ||
      performance.now() - this.#probedAtMs > PROBE_INTERVAL_MS
    ) {
      await creation.replace({ key: this.#probeKey, body: bodyOf("walarc"), ...options });
    }
    return { freeBytes: undefined, totalBytes: undefined };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#probedAtMs !== undefined) await this.#removeProbe();
    this.#bucket.close();
  }

  async #publish(
    content: StagedContent,
    key: string,
    options: Signalled,
  ): Promise<"created" | "exists"> {
    clusterOfKey(key);
    const creation = await this.#creation(options);
    const describes = await content.metadata();
    const outcome = await creation.create({ key, body: content.seal(), describes, ...options });
    content.answered();
    return outcome;
  }

  /** The damaged object is copied aside before anything takes its place. */
  async #repair(content: StagedContent, key: string, options: Signalled): Promise<void> {
    const creation = await this.#creation(options);
    const describes = await content.metadata();
    const put = { key, body: content.seal(), describes, ...options };
    const found = await this.#head(key, options);
    if (found === undefined) {
      if ((await creation.create(put)) === "created") return;
      throw new WalarcError("store-failed", `"${key}" appeared while it was being repaired`);
    }
    requireSameContent(key, { noted: notedDigest(found), sha256: describes?.sha256 });
    await this.#keepDamaged(key, found, options);
    await creation.replaceExactly(put, found.etag);
  }

  async #keepDamaged(key: string, { etag }: Found, { signal: caller }: Signalled): Promise<void> {
    // By its ETag, so that the same damage is kept once.
    const copy = etag?.replaceAll(/[^0-9A-Za-z-]/g, "") || randomUUID();
    const to = `clusters/${clusterOfKey(key)}/damaged/${basename(key)}.${copy}`;
    await this.#retries.run(
      `keep the damaged "${key}"`,
      async (attempt) => {
        const { signal } = attempt;
        await attempt.request("copy", (bucket) => bucket.copy(key, to, { etag, signal }));
      },
      { signal: caller },
    );
  }

  async #head(key: string, { signal: caller }: Signalled): Promise<Found | undefined> {
    return await this.#retries.run(
      `look for "${key}"`,
      async (attempt) => {
        const { signal } = attempt;
        try {
          const found = await attempt.request("head", (bucket) => bucket.head(key, { signal }));
          return requireEtag(found);
        } catch (error) {
          if (isMissing(error)) return undefined;
          throw error;
        }
      },
      { signal: caller },
    );
  }

  async #creation(options: Signalled): Promise<Creation> {
    return new Creation(this.#retries, await this.#admission.require(options));
  }

  #note({ request, result }: RequestObservation): void {
    if (request !== "put" || result === "refused" || result === "aborted") return;
    this.#probedAtMs = result === "ok" ? performance.now() : undefined;
  }

  /** Whatever comes of it: what stays is one small object, and in nobody's way. */
  async #removeProbe(): Promise<void> {
    const signal = AbortSignal.timeout(STOP_MS_MAX);
    try {
      await removeObject(this.#retries, this.#probeKey, { signal });
    } catch (error) {
      if (!signal.aborted && !(error instanceof WalarcError)) throw error;
    }
  }
}

const STOP_MS_MAX = 2_000;

/**
 * What took the object for damaged may never have seen it: a reading that somebody else answered.
 * Its mark says for which content it was put, and no other one may take its place.
 */
function requireSameContent(
  key: string,
  { noted, sha256 }: { noted: string | undefined; sha256: string | undefined },
): void {
  if (noted === undefined || sha256 === undefined || noted === sha256) return;
  throw new WalarcError("store-failed", `"${key}" is marked as of another content than its repair`);
}
