import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { S3Store } from "../../src/store/s3.ts";
import { CountedStore } from "../support/bucket-store.ts";
import { type S3FaultName, S3_FAULTS } from "../support/s3-fault.ts";
import { S3Scene, settingsOf } from "../support/s3-scene.ts";
import { Workspace } from "../support/workspace.ts";
import { sha256Of } from "../support/wal-maker.ts";
import { contentOf, keysOf, objectOf, put } from "./objects.ts";

const MIB = 1024 * 1024;
const signal = new AbortController().signal;
const WAL = "clusters/main/wal/00000001/00000000/000000010000000000000001";
const OTHER = "clusters/main/wal/00000001/00000000/000000010000000000000002";
const STATE = "clusters/main/standbys/s1.json";

let scene: S3Scene;
beforeEach(() => {
  scene = new S3Scene();
});
afterEach(() => scene[Symbol.asyncDispose]());

describe("a bucket that is not ours, or not of our time, is left untouched", () => {
  test.each([
    ["walarc.json", '{"format": 2}', /has format 2$/],
    ["walarc.json", "[1]", /does not tell the store's format$/],
    ["holiday.jpg", "", /is not a store of walarc, but is not empty$/],
  ])("%s %j", async (key, content, message) => {
    const server = await scene.start();
    server.bucket.put(key, Buffer.from(content), {});
    const refused = S3Store.open(settingsOf(server));
    await expect(refused).rejects.toMatchObject({ code: "usage" });
    await expect(refused).rejects.toThrow(message);
    expect(new Set(server.log.map(({ operation }) => operation))).not.toContain("PutObject");
  });

  test("and one that is comes back with all it has", async () => {
    const server = await scene.start();
    await put((await scene.open(server)).store, WAL, "content");
    expect(await contentOf((await scene.open(server)).store, WAL)).toBe("content");
    expect(String(server.bucket.get("walarc.json")?.body)).toBe('{"format":1}\n');
  });
});

test("a key with a line break is refused at once, and never shown", async () => {
  const server = await scene.start();
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "hush\n");
  const refused = S3Store.open(settingsOf(server));
  await expect(refused).rejects.toMatchObject({ code: "usage" });
  await expect(refused).rejects.not.toThrow(/hush/);
  expect(server.log).toEqual([]);
});

test("an object is put with the encryption and the class that were asked for, and its digest", async () => {
  const server = await scene.start();
  const wishes = { kmsKeyId: "alias/walarc", storageClass: "STANDARD_IA" } as const;
  const settings = { ...settingsOf(server), serverSideEncryption: "aws:kms", ...wishes } as const;
  const store = scene.stack.use(await S3Store.open(settings));
  await put(store, WAL, "content");
  expect(server.bucket.get(WAL)?.headers).toMatchObject({
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-server-side-encryption-aws-kms-key-id": "alias/walarc",
    "x-amz-storage-class": "STANDARD_IA",
    "x-amz-meta-stored-sha256": sha256Of(Buffer.from("content")),
  });
});

test("credentials that expire are read anew from their file, while many pushes run", async () => {
  const server = await scene.start();
  const workspace = scene.stack.use(await Workspace.create());
  const file = workspace.path("credentials");
  let written = 0;
  server.onExpired = () => {
    const key = `aws_access_key_id = KEY${(written += 1)}\naws_secret_access_key = secret\n`;
    writeFileSync(file, `[default]\n${key}`);
  };
  server.onExpired();
  vi.stubEnv("AWS_ACCESS_KEY_ID", undefined);
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", undefined);
  vi.stubEnv("AWS_SHARED_CREDENTIALS_FILE", file);
  vi.stubEnv("AWS_CONFIG_FILE", "/dev/null");

  const { store } = await scene.open(server);
  for (const round of [1, 2]) {
    server.script = [S3_FAULTS["403 expired"]];
    const keys = Array.from({ length: 8 }, (_, index) => `${WAL}.${round}.${index}`);
    const outcomes = await Promise.all(keys.map((key) => put(store, key, "content")));
    expect(new Set(outcomes)).toEqual(new Set(["created"]));
  }
  expect(written).toBe(3);
});

describe("a bucket that is away", () => {
  test("does not keep the daemon from starting, and is used as soon as it is there", async () => {
    const server = await scene.start();
    server.isThere = false;
    const settings = { ...settingsOf(server), requestTimeoutMs: 200 };
    const store = scene.stack.use(await S3Store.open(settings));
    await expect(put(store, WAL, "content")).rejects.toMatchObject({ code: "store-failed" });
    server.isThere = true;
    expect(await put(store, WAL, "content")).toBe("created");
  });

  test("and comes back as one that overwrites is refused then", async () => {
    const server = await scene.start({ conditions: "ignored" });
    server.isThere = false;
    const settings = { ...settingsOf(server), requestTimeoutMs: 200 };
    const store = scene.stack.use(await S3Store.open(settings));
    server.isThere = true;
    const refused = put(store, WAL, "content");
    await expect(refused).rejects.toMatchObject({ code: "store-failed" });
    await expect(refused).rejects.toThrow(/overwrites/);
    await expect(store.probe({ signal })).rejects.toThrow(/overwrites/);
  });
});

describe("of an answer that was lost or proves nothing the object itself tells", () => {
  test.each<[S3FaultName, string[]]>([
    ["reset before the answer", ["put failed", "put refused", "head ok"]],
    ["timeout after storing", ["put failed", "put refused", "head ok"]],
    ["timeout before storing", ["put failed", "put ok"]],
    ["reset in the request", ["put failed", "put ok"]],
    ["412 for nothing", ["put refused", "head refused", "put ok"]],
    ["409", ["put failed", "put ok"]],
    ["500", ["put failed", "put ok"]],
    ["503 SlowDown", ["put throttled", "put ok"]],
    ["200 of a proxy", ["put ok", "head refused", "put ok"]],
    ["200 with an error", ["put throttled", "put ok"]],
    ["403 skewed", ["put failed", "put ok"]],
  ])("%s", async (fault, requests) => {
    const server = await scene.start();
    const counted = await scene.open(server);
    const { store } = counted;
    server.script = [S3_FAULTS[fault]];
    expect(await put(store, WAL, "content")).toBe("created");
    expect(counted.requests()).toEqual(requests);
    expect(await contentOf(store, WAL)).toBe("content");
    expect(await put(store, WAL, "other")).toBe("exists");
  });

  test("an object that waits in a file is sent again like any other, and under another key", async () => {
    const server = await scene.start();
    const settings = { ...settingsOf(server), requestTimeoutMs: 10_000 };
    const counted = scene.stack.use(await CountedStore.open(settings));
    await put(counted.store, WAL, "rival");
    await using staged = await counted.store.stage("main", { signal });
    const block = randomBytes(MIB);
    for (let index = 0; index < 69; index += 1) await staged.write(block);
    counted.requests();
    expect(await staged.publish(WAL, { signal })).toBe("exists");
    server.script = [S3_FAULTS["500"]];
    expect(await staged.publish(OTHER, { signal })).toBe("created");
    expect(counted.requests()).toEqual(["put refused", "head ok", "put failed", "put ok"]);
    const stored = server.bucket.get(OTHER)?.body ?? Buffer.alloc(0);
    expect(stored.length).toBe(69 * MIB);
    expect(stored.subarray(-MIB).equals(block)).toBe(true);
  });

  test("a rival's object is never taken for the own one", async () => {
    const server = await scene.start();
    const { store } = await scene.open(server);
    await put(store, WAL, "rival");
    server.script = [S3_FAULTS["reset in the request"]];
    expect(await put(store, WAL, "rival")).toBe("exists");
    expect(await contentOf(store, WAL)).toBe("rival");
  });
});

describe("what is read is whole, or is read again", () => {
  test.each<S3FaultName>(["read short", "read long", "read corrupt", "reset in the answer", "500"])(
    "%s, once",
    async (fault) => {
      const server = await scene.start();
      const { store } = await scene.open(server);
      await store.replace(STATE, Buffer.from("a state of some length"), { signal });
      server.script = [S3_FAULTS[fault]];
      expect(await contentOf(store, STATE)).toBe("a state of some length");
    },
  );

  test("a WAL file's object is cut nowhere, though its own digest would tell", async () => {
    const server = await scene.start();
    const { store } = await scene.open(server);
    const bytes = objectOf({ sha256: "0".repeat(64) });
    await using staged = await store.stage("main", { signal });
    await staged.write(bytes);
    await staged.publish(WAL, { signal });

    for (const afterBytes of [0, 100, 1000, 2000]) {
      server.script = [{ kind: "cut-answer", afterBytes }];
      await using object = await store.open(WAL, { signal });
      expect(object?.storedBytes).toBe(bytes.length);
      expect((await object?.read(0, bytes.length))?.equals(bytes)).toBe(true);
    }
  });

  test("a state that is damaged where it lies is told as such", async () => {
    const server = await scene.start();
    const { store } = await scene.open(server);
    await store.replace(STATE, Buffer.from("state"), { signal });
    const { headers = {} } = server.bucket.get(STATE) ?? {};
    server.bucket.put(STATE, Buffer.from("stale"), headers);
    await expect(store.open(STATE, { signal })).rejects.toMatchObject({ code: "corrupt" });
  });

  test("a listing that is none, or is cut, never ends early", async () => {
    const server = await scene.start();
    const { store } = await scene.open(server);
    for (const key of [WAL, OTHER]) await put(store, key, "");
    for (const fault of ["200 of a proxy", "200 with an error", "reset in the answer"] as const) {
      server.script = [S3_FAULTS[fault]];
      expect(await keysOf(store)).toEqual([WAL, OTHER]);
    }
  });

  test("a long listing, read in several places at once, is in order and misses nothing", async () => {
    const server = await scene.start();
    const { store } = await scene.open(server);
    const hex = (number: number): string => number.toString(16).toUpperCase().padStart(8, "0");
    const keys = [1, 2, 10].flatMap((timeline) => {
      const of = `clusters/main/wal/${hex(timeline)}`;
      const segments = Array.from({ length: timeline === 10 ? 700 : 3000 }, (_, number) => {
        const log = hex(Math.floor(number / 256));
        return `${of}/${log}/${hex(timeline)}${log}${hex(number % 256)}`;
      });
      return [
        ...segments,
        `${segments[1300] ?? of}.00000028.backup`,
        `${of}/${hex(timeline)}.history`,
      ];
    });
    keys.push("clusters/main/wal/00000001/stray", "clusters/main/wal/stray", "clusters/main/x");
    for (const key of keys) server.bucket.put(key, Buffer.alloc(0), {});

    const wal = keys.filter((key) => key.startsWith("clusters/main/wal/")).sort();
    const prefix = "clusters/main/wal/";
    expect(await keysOf(store, { prefix })).toEqual(wal);
    expect(server.count("ListObjectsV2")).toBeGreaterThan(8);
    expect(server.count("ListObjectsV2")).toBeLessThan(25);
    const after = wal[1111] ?? "";
    expect(await keysOf(store, { prefix, after })).toEqual(wal.slice(1112));
  });

  test("an answer of 404 that is not S3's is no absence", async () => {
    const server = await scene.start();
    const { store } = await scene.open(server);
    await put(store, WAL, "content");
    server.script = [{ kind: "refuse", code: "NoSuchBucket", status: 404 }];
    await expect(store.open(WAL, { signal })).rejects.toMatchObject({ code: "store-failed" });
  });
});
