import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, vi } from "vitest";
import { S3Store } from "../../src/store/s3.ts";
import type { S3Settings } from "../../src/store/s3/settings.ts";
import type { Bucket } from "../support/bucket.ts";
import { describeRgw } from "../support/rgw-scene.ts";
import { environmentOf } from "../support/s3-access.ts";
import { storePromises } from "./contract.ts";

describeRgw("a bucket of Ceph's gateway", (rgw) => {
  let bucket: Bucket;

  beforeAll(async () => {
    bucket = await rgw().bucket();
    for (const [name, value] of Object.entries(environmentOf(bucket.access))) {
      vi.stubEnv(name, value);
    }
  });
  afterAll(() => {
    vi.unstubAllEnvs();
    bucket[Symbol.dispose]();
  });

  /** A store of its own in the one bucket. */
  function settings(changes: Partial<S3Settings> = {}): S3Settings {
    const { endpoint, region } = bucket.access;
    return {
      bucket: bucket.name,
      prefix: `${randomUUID()}/`,
      region,
      endpoint,
      forcePathStyle: true,
      serverSideEncryption: undefined,
      kmsKeyId: undefined,
      storageClass: undefined,
      requestTimeoutMs: 10_000,
      ...changes,
    };
  }

  storePromises("S3 on Ceph RGW", () => S3Store.open(settings()));
});
