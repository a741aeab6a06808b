import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { S3Store } from "../../src/store/s3.ts";
import type { Bucket } from "../support/bucket.ts";
import { CountedStore, settingsFor, useCredentials } from "../support/bucket-store.ts";
import { describeRgw } from "../support/rgw-scene.ts";
import { storePromises } from "./contract.ts";
import { contentOf, keysOf, put } from "./objects.ts";

const signal = new AbortController().signal;
const MIB = 1024 * 1024;
const WAL = "clusters/main/wal/00000001/00000000/000000010000000000000001";
const STATE = "clusters/main/standbys/s1.json";

describeRgw("a bucket of Ceph's gateway", (rgw) => {
  let bucket: Bucket;

  beforeAll(async () => {
    bucket = await rgw().bucket();
    useCredentials(bucket);
  });
  afterAll(() => {
    vi.unstubAllEnvs();
    bucket[Symbol.dispose]();
  });

  storePromises("a store in it", () => S3Store.open(settingsFor(bucket)));

  describe("what it costs in requests", () => {
    test("one for a new object, one for its content, one for a state, two for a taken name", async () => {
      await using counted = await CountedStore.open(settingsFor(bucket));
      const { store } = counted;
      counted.requests();
      await put(store, WAL, "content");
      expect(counted.requests()).toEqual(["put ok"]);
      expect(await contentOf(store, WAL)).toBe("content");
      expect(counted.requests()).toEqual(["get ok"]);
      expect(await store.open(`${WAL}.partial`, { signal })).toBeUndefined();
      expect(counted.requests()).toEqual(["get refused"]);
      await store.replace(STATE, Buffer.from("{}"), { signal });
      expect(counted.requests()).toEqual(["put ok"]);
      expect(await put(store, WAL, "other")).toBe("exists");
      expect(counted.requests()).toEqual(["put refused", "head ok"]);
      await store.probe({ signal });
      expect(counted.requests(), "a put has just proved it").toEqual([]);
    });

    test("one for a thousand keys to remove", async () => {
      await using counted = await CountedStore.open(settingsFor(bucket));
      const keys = Array.from({ length: 1001 }, (_, index) => `${WAL}.${index}`);
      await put(counted.store, keys[0] ?? "", "content");
      counted.requests();
      await counted.store.removeAll(keys, { signal });
      expect(counted.requests()).toEqual(["delete-many ok", "delete ok"]);
      expect(await counted.store.stat(keys[0] ?? "", { signal })).toBeUndefined();
    });
  });

  test("an object too large for memory waits in a file, and is read piece by piece", async () => {
    await using counted = await CountedStore.open(settingsFor(bucket));
    const { store } = counted;
    const block = randomBytes(MIB);
    const numbered = (index: number): Buffer => {
      block.writeUInt32LE(index);
      return block;
    };
    await using staged = await store.stage("main", { signal });
    for (let index = 0; index < 72; index += 1) await staged.write(numbered(index));
    counted.requests();
    expect(await staged.publish(WAL, { signal })).toBe("created");
    expect(counted.requests()).toEqual(["put ok"]);

    await using object = await store.open(WAL, { signal });
    expect(object?.storedBytes).toBe(72 * MIB);
    for (const index of [71, 0, 1, 40]) {
      const read = await object?.read(index * MIB, MIB);
      expect(read?.equals(numbered(index)), `block ${index}`).toBe(true);
    }
    const across = await object?.read(41 * MIB - 2, 4);
    expect(across?.readUInt16LE(2)).toBe(41);
  });

  test("what takes the place of a damaged object spares one that was repaired meanwhile", async () => {
    const settings = settingsFor(bucket);
    await using store = await S3Store.open(settings);
    await put(store, WAL, "damaged");
    const repairs = ["one", "two"].map(async (content) => {
      await using staged = await store.stage("main", { signal });
      await staged.write(Buffer.from(content));
      await staged.repair(WAL, { signal });
      return content;
    });
    const done = (await Promise.allSettled(repairs)).filter(({ status }) => status === "fulfilled");
    expect(done.length).toBeGreaterThan(0);
    const kept = [...(await bucket.objects()).keys()].filter((key) => {
      return key.startsWith(`${settings.prefix}clusters/main/damaged/`);
    });
    const contents = await Promise.all(kept.map(async (key) => String(await bucket.get(key))));
    expect(contents).toContain("damaged");
  });

  test("the rights that docs/s3.md asks for are enough, and without them nothing is absent", async () => {
    const owned = await rgw().bucket();
    using bucket = owned;
    const access = await rgw().addUser("limited");
    const policy = await documentedPolicy();
    const statements = policy.Statement.map((statement) => ({
      ...statement,
      Principal: { AWS: ["arn:aws:iam:::user/limited"] },
      Resource: statement.Resource.replace("walarc", bucket.name),
    }));
    await bucket.allow(JSON.stringify({ ...policy, Statement: statements }));
    useCredentials({ access });

    const settings = settingsFor({ name: bucket.name, access }, { prefix: "production/" });
    await using store = await S3Store.open(settings);
    expect(await put(store, WAL, "damaged")).toBe("created");
    expect(await put(store, WAL, "other")).toBe("exists");
    expect(await store.open(`${WAL}.partial`, { signal })).toBeUndefined();
    expect(await keysOf(store)).toEqual([WAL]);
    expect(await store.clusters({ signal })).toEqual(["main"]);
    await store.replace(STATE, Buffer.from("{}"), { signal });
    await using staged = await store.stage("main", { signal });
    await staged.write(Buffer.from("repaired"));
    await staged.repair(WAL, { signal });
    expect(await contentOf(store, WAL)).toBe("repaired");
    await store.removeAll([WAL, STATE], { signal });
    expect(await keysOf(store)).toEqual([]);

    // The very first answer of a server that lets nobody list: 403 for what is not there.
    const [objects] = statements;
    await bucket.allow(JSON.stringify({ ...policy, Statement: [objects] }));
    const open = store.open(WAL, { signal });
    await expect(open).rejects.toMatchObject({ code: "store-failed", status: 503 });
    await expect(open).rejects.toThrow(/access is denied/);
    useCredentials(bucket);
  });

  test("storage class and size of an object are those that were asked for", async () => {
    const settings = settingsFor(bucket, { storageClass: "STANDARD" });
    await using store = await S3Store.open(settings);
    await put(store, WAL, "content");
    expect((await bucket.objects()).get(settings.prefix + WAL)).toBe(7);
  });
});

interface Policy {
  readonly Version: string;
  readonly Statement: readonly { readonly Resource: string }[];
}

async function documentedPolicy(): Promise<Policy> {
  const text = await readFile(new URL("../../docs/s3.md", import.meta.url), "utf8");
  const [, policy = ""] = /```json\n([^]*?)```/.exec(text) ?? [];
  return JSON.parse(policy) as Policy;
}
