import { mkdirSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Outcome } from "../support/child.ts";
import type { WalarcDaemon } from "../support/daemon.ts";
import { FaultScene, filesBelow, OWN_WRITING, reportLogsOf } from "../support/fault-scene.ts";
import { fetchWal } from "../support/wal-http.ts";
import * as maker from "../support/wal-maker.ts";

const { FIRST_PAGE, MIB } = maker;

/** A segment that is good but for one thing, and a word of the reason that must be told. */
interface Forgery {
  readonly title: string;
  readonly reason: RegExp;
  readonly make: (good: maker.MadeFile, segmentSizeBytes: number) => maker.MadeFile;
}

const FORGERIES: readonly Forgery[] = [
  {
    title: "of another cluster",
    reason: /system identifier/,
    make: (good) =>
      changed(good, (bytes) => bytes.writeBigUInt64LE(77n, FIRST_PAGE.systemIdentifier)),
  },
  {
    title: "whose header tells another segment size",
    reason: /segment size/,
    make: (good, size) =>
      changed(good, (bytes) => {
        const other = size === 1024 * MIB ? size / 2 : size * 2;
        bytes.writeUInt32LE(other, FIRST_PAGE.segmentSizeBytes);
      }),
  },
  {
    title: "whose header tells a segment size that no cluster has",
    reason: /segment size/,
    make: (good) =>
      changed(good, (bytes) => bytes.writeUInt32LE(12_345, FIRST_PAGE.segmentSizeBytes)),
  },
  {
    title: "of another position",
    reason: /page address/,
    make: (good, size) =>
      changed(good, (bytes) => {
        const address = bytes.readBigUInt64LE(FIRST_PAGE.pageAddress) + BigInt(size);
        bytes.writeBigUInt64LE(address, FIRST_PAGE.pageAddress);
      }),
  },
  {
    title: "with the magic of no PostgreSQL",
    reason: /magic/,
    make: (good) => changed(good, (bytes) => bytes.writeUInt16LE(0xabcd, FIRST_PAGE.magic)),
  },
  {
    title: "of another major than the cluster's",
    reason: /PostgreSQL/,
    make: (good) => changed(good, (bytes) => bytes.writeUInt16LE(0xd116, FIRST_PAGE.magic)),
  },
  {
    title: "of a timeline above its name's",
    reason: /timeline/,
    make: (good) => changed(good, (bytes) => bytes.writeUInt32LE(9, FIRST_PAGE.timeline)),
  },
  {
    title: "that is empty",
    reason: /0 bytes|empty/,
    make: ({ name }) => ({ name, bytes: Buffer.alloc(0) }),
  },
  {
    title: "that lacks its last byte",
    reason: /bytes/,
    make: ({ name, bytes }) => ({ name, bytes: bytes.subarray(0, -1) }),
  },
  {
    title: "that ends within its header",
    reason: /bytes/,
    make: ({ name, bytes }) => ({ name, bytes: bytes.subarray(0, 39) }),
  },
  {
    title: "that was cut in half",
    reason: /bytes/,
    make: ({ name, bytes }) => ({ name, bytes: bytes.subarray(0, bytes.length / 2) }),
  },
  {
    title: "that is there twice",
    reason: /bytes/,
    make: ({ name, bytes }) => ({ name, bytes: Buffer.concat([bytes, bytes]) }),
  },
  {
    title: "with one byte too many",
    reason: /bytes/,
    make: ({ name, bytes }) => ({ name, bytes: Buffer.concat([bytes, Buffer.alloc(1)]) }),
  },
  {
    title: "of zeros",
    reason: /empty/,
    make: ({ name, bytes }) => ({ name, bytes: Buffer.alloc(bytes.length) }),
  },
];

/** Names that PostgreSQL never gives, with content that is good otherwise. */
const NAMES: readonly { title: string; name: (good: string, size: number) => string }[] = [
  { title: "in lower case", name: () => "00000001000000000000000a" },
  { title: "one digit short", name: (good) => good.slice(0, 23) },
  { title: "one digit long", name: (good) => `${good}0` },
  { title: "on timeline 0", name: (good) => `00000000${good.slice(8)}` },
  { title: "with another suffix", name: (good) => `${good}.gz` },
  {
    title: "of a segment that no log of this size has",
    name: (_, size) =>
      `0000000100000000${(2 ** 32 / size).toString(16).toUpperCase().padStart(8, "0")}`,
  },
];

describe("a push that is not a WAL file of this cluster", () => {
  let scene: FaultScene;
  let daemon: WalarcDaemon;
  reportLogsOf(() => scene);
  beforeAll(async () => {
    scene = await FaultScene.open();
    daemon = await scene.daemon();
  });
  afterAll(() => scene?.[Symbol.asyncDispose]());

  const push = (file: maker.MadeFile, cluster: string): Promise<Outcome> => {
    return scene.push(file, { server: daemon.url, cluster, timeoutSeconds: 60 });
  };

  async function expectRefused(file: maker.MadeFile, cluster: string): Promise<string> {
    const before = await treeOf(daemon.storeDirectory);
    const { status, stderr } = await push(file, cluster);
    expect({ status, stderr }).toMatchObject({ status: 5 });
    const [first = "", ...others] = stderr.trimEnd().split("\n");
    const [, reason = ""] = /^walarc: push \S+: rejected: (.+)$/.exec(first) ?? [];
    expect(reason, stderr).not.toBe("");
    for (const line of others) expect(line).toMatch(/^hint: /);
    expect(await treeOf(daemon.storeDirectory)).toEqual(before);
    return reason;
  }

  for (const sizeMb of [1, 16, 64]) {
    const size = sizeMb * MIB;
    const cluster = `size${sizeMb}`;
    const segment = (number: number) => {
      return maker.makeSegment({ number, segmentSizeBytes: size, content: "sparse" });
    };

    describe(`of ${sizeMb} MB segments`, () => {
      const reasons: string[] = [];
      beforeAll(async () => {
        expect((await push(segment(3), cluster)).status).toBe(0);
      });

      test.each(FORGERIES)("is refused: $title", async ({ make, reason }) => {
        const told = await expectRefused(make(segment(5), size), cluster);
        expect(told).toMatch(reason);
        reasons.push(told);
      });

      test.each(NAMES)("is refused: a name $title", async ({ name }) => {
        const { name: good, bytes } = segment(5);
        await expectRefused({ name: name(good, size), bytes }, cluster);
      });

      test("is told apart by its reason", () => {
        // One byte too many and twice as many are one reason.
        expect(new Set(reasons).size).toBe(FORGERIES.length - 1);
      });

      test("is not: the first segment after a promotion, which still tells the old timeline", async () => {
        const wish = { number: 6, segmentSizeBytes: size, timeline: 2, pageTimeline: 1 };
        const promoted = maker.makeSegment({ ...wish, content: "sparse" });
        expect(await push(promoted, cluster)).toMatchObject({ status: 0, stderr: "" });
        expect((await fetchWal(promoted.name, { ...daemonPlace(), cluster })).status).toBe(200);
      });
    });
  }

  const daemonPlace = () => ({ socketPath: daemon.socketPath });

  test("is refused by a cluster that no push has made yet, and does not make it", async () => {
    const segment = maker.makeSegment({ number: 1, segmentSizeBytes: MIB });
    for (const { title, make } of FORGERIES) {
      // Of these a new cluster can know nothing yet.
      if (/another cluster|another major|position/.test(title)) continue;
      await expectRefused(make(segment, MIB), "fresh");
    }
    expect(String((await daemon.get("/v1/clusters")).body)).not.toContain("fresh");
  });
});

describe("segments of a gigabyte", () => {
  let scene: FaultScene;
  let daemon: WalarcDaemon;
  reportLogsOf(() => scene);
  beforeAll(async () => {
    scene = await FaultScene.open();
    daemon = await scene.daemon();
  });
  afterAll(() => scene?.[Symbol.asyncDispose]());

  const size = 1024 * MIB;
  const push = (path: string) => {
    return scene.walarc(["push", path], { server: daemon.url, timeoutSeconds: 60 });
  };

  test("are archived and come back", async () => {
    const path = sparse("good", { number: 9 });
    expect(await push(path)).toMatchObject({ status: 0, stderr: "" });

    const target = scene.workspace.path("fetched");
    const name = maker.segmentNameOf({ number: 9, segmentSizeBytes: size });
    const fetched = await scene.walarc(["fetch", name, target], { server: daemon.url });
    expect(fetched).toMatchObject({ status: 0, stderr: "" });
    expect((await filesBelow(scene.workspace.directory)).get("fetched")?.sizeBytes).toBe(size);
  });

  test("are refused when they are not of this cluster, or of another size", {
    timeout: 120_000,
  }, async () => {
    const before = await treeOf(daemon.storeDirectory);
    const forged = [
      { wish: { systemIdentifier: "77" }, reason: /system identifier/ },
      { wish: { segmentSizeBytes: 512 * MIB }, reason: /bytes/ },
      { wish: { timeline: 1, pageTimeline: 2 }, reason: /timeline/ },
      { wish: { magic: 0xabcd }, reason: /magic/ },
    ];
    for (const [at, { wish, reason }] of forged.entries()) {
      const { status, stderr } = await push(sparse(`forged${at}`, { number: 3, ...wish }));
      expect({ status, stderr }).toEqual({ status: 5, stderr: expect.stringMatching(reason) });
    }
    expect(await treeOf(daemon.storeDirectory)).toEqual(before);
  });

  function sparse(directory: string, wish: maker.SegmentWish): string {
    const path = scene.workspace.path(directory);
    mkdirSync(path);
    return maker.writeSegmentFile(path, { segmentSizeBytes: size, content: "sparse", ...wish });
  }
});

function changed(good: maker.MadeFile, change: (bytes: Buffer) => void): maker.MadeFile {
  const bytes = Buffer.from(good.bytes);
  change(bytes);
  return { name: good.name, bytes };
}

/** Every name in the store, directories too, and what each file holds by its size and inode. */
async function treeOf(directory: string): Promise<unknown> {
  const names = (await readdir(directory, { recursive: true })).filter(
    (name) => !OWN_WRITING.test(name),
  );
  return { names: names.sort(), files: await filesBelow(directory) };
}
