import { vi } from "vitest";
import type { BucketConfig } from "../../src/config/config.ts";
import { CountedStore, settingsFor, useCredentials } from "./bucket-store.ts";
import { type S3Manners, S3Server } from "./s3-server.ts";

/** S3 servers that fail as they are told, and stores in their buckets, until disposed. */
export class S3Scene implements AsyncDisposable {
  /** What else is to go with it. */
  readonly stack = new AsyncDisposableStack();

  /** Its credentials are those of this process from then on. */
  async start(manners: S3Manners = {}): Promise<S3Server> {
    const server = this.stack.use(await S3Server.start(manners));
    useCredentials(server);
    return server;
  }

  /** The requests of the start are forgotten. */
  async open(server: S3Server): Promise<CountedStore> {
    const counted = this.stack.use(await CountedStore.open(settingsOf(server)));
    counted.requests();
    return counted;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    vi.unstubAllEnvs();
    await this.stack.disposeAsync();
  }
}

/** The whole bucket, with little patience. */
export function settingsOf(server: S3Server): BucketConfig {
  const place = { name: server.bucketName, access: server.access };
  return settingsFor(place, { prefix: "", requestTimeoutMs: 1000 });
}
