import { randomUUID } from "node:crypto";
import { vi } from "vitest";
import { S3Store } from "../../src/store/s3.ts";
import type { BucketConfig } from "../../src/config/config.ts";
import type { RequestObservation } from "../../src/store/s3/wire.ts";
import { type BucketPlace, environmentOf } from "./s3-access.ts";

/** Between attempts: nobody waits for a server to recover that only plays at failing. */
const PAUSE_MS = 2;

/** From now on, until `vi.unstubAllEnvs`, this process may use what is in reach of the access. */
export function useCredentials({ access }: Pick<BucketPlace, "access">): void {
  for (const [name, value] of Object.entries(environmentOf(access))) vi.stubEnv(name, value);
}

/** How a store in a bucket is opened, at a prefix of its own. */
export function settingsFor(place: BucketPlace, changes: Partial<BucketConfig> = {}): BucketConfig {
  return {
    bucket: place.name,
    prefix: `${randomUUID()}/`,
    region: place.access.region,
    endpoint: place.access.endpoint,
    forcePathStyle: true,
    serverSideEncryption: undefined,
    kmsKeyId: undefined,
    storageClass: undefined,
    requestTimeoutMs: 10_000,
    ...changes,
  };
}

/** A store whose requests are counted by type and result, as `put ok`. */
export class CountedStore implements AsyncDisposable {
  readonly store: S3Store;
  readonly #seen: RequestObservation[];

  private constructor(store: S3Store, seen: RequestObservation[]) {
    this.store = store;
    this.#seen = seen;
  }

  static async open(settings: BucketConfig): Promise<CountedStore> {
    const seen: RequestObservation[] = [];
    const observe = (observation: RequestObservation): void => void seen.push(observation);
    return new CountedStore(await S3Store.open(settings, { observe, pauseMs: PAUSE_MS }), seen);
  }

  /** Requests since the last call, in the order of their ends. */
  requests(): string[] {
    return this.#seen.splice(0).map(({ request, result }) => `${request} ${result}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store[Symbol.asyncDispose]();
  }
}
