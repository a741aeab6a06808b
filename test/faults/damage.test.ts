import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { WalarcDaemon } from "../support/daemon.ts";
import { FaultScene, filesBelow, reportLogsOf } from "../support/fault-scene.ts";
import { fetchWal, pushWal } from "../support/wal-http.ts";
import { type MadeFile, makeSegment, MIB, sha256Of } from "../support/wal-maker.ts";

/**
 * What a disk, a file system or a hasty hand does to a file; `neighbour` is another whole object.
 */
type Damage = (object: Buffer, neighbour: Buffer) => Buffer;

const PLACES = 64;
/** The last part of an object begins with the size of its frame (docs/object-format.md). */
const FOOTER_BYTES = 24;
const ZSTD_SKIPPABLE = Buffer.from([0x57, 0x2a, 0x4d, 0x18]);

const flip = (offset: number): Damage => {
  return (object) => object.with(offset, (object[offset] ?? 0) ^ 0x10) as Buffer;
};
const cut = (length: number): Damage => {
  return (object) => object.subarray(0, length);
};

const KINDS: readonly { title: string; damage: Damage; tellsDigest?: true }[] = [
  {
    title: "one flipped byte",
    damage: (object, other) => flip(object.length >> 1)(object, other),
    tellsDigest: true,
  },
  { title: "a cut in the middle", damage: (object) => object.subarray(0, object.length >> 1) },
  { title: "nothing left of it", damage: () => Buffer.alloc(0) },
  {
    title: "a byte behind its end",
    damage: (object) => Buffer.concat([object, Buffer.alloc(1)]),
    tellsDigest: true,
  },
  { title: "itself behind its end", damage: (object) => Buffer.concat([object, object]) },
  { title: "its neighbour's content", damage: (_, neighbour) => neighbour },
  {
    title: "its neighbour behind its end",
    damage: (object, other) => Buffer.concat([object, other]),
  },
  {
    title: "4 KB of zeros",
    damage: (object) => Buffer.from(object).fill(0, 8192, 12_288),
    tellsDigest: true,
  },
  { title: "zeros all over", damage: (object) => Buffer.alloc(object.length) },
  {
    title: "its metadata dropped",
    damage: (object) => object.subarray(0, object.lastIndexOf(ZSTD_SKIPPABLE)),
    tellsDigest: true,
  },
  {
    title: "its neighbour's metadata",
    damage: (object, neighbour) => {
      const frame = object.subarray(0, object.lastIndexOf(ZSTD_SKIPPABLE));
      return Buffer.concat([frame, neighbour.subarray(neighbour.lastIndexOf(ZSTD_SKIPPABLE))]);
    },
  },
  {
    title: "a whole frame of other content before its own metadata",
    damage: (object, neighbour) => {
      const frame = neighbour.subarray(0, neighbour.lastIndexOf(ZSTD_SKIPPABLE));
      const trailer = Buffer.from(object.subarray(object.lastIndexOf(ZSTD_SKIPPABLE)));
      trailer.writeBigUInt64LE(BigInt(frame.length), trailer.length - FOOTER_BYTES);
      return Buffer.concat([frame, trailer]);
    },
    tellsDigest: true,
  },
];

describe("a stored object that was damaged", () => {
  const [before, victim, after] = [7, 8, 9].map((number) => {
    return makeSegment({ number, segmentSizeBytes: MIB });
  }) as [MadeFile, MadeFile, MadeFile];
  const files = [before, victim, after];
  const objects = new Map<string, Buffer>();
  let scene: FaultScene;
  let daemon: WalarcDaemon;
  let recoveries = 0;
  reportLogsOf(() => scene);
  beforeAll(async () => {
    scene = await FaultScene.open();
    daemon = await scene.daemon();
    for (const file of files) {
      expect((await pushWal(file, daemon)).status).toBe(201);
      objects.set(file.name, await readFile(daemon.objectFile(file.name)));
    }
  });
  afterAll(() => scene?.[Symbol.asyncDispose]());

  const object = (file: MadeFile) => objects.get(file.name) as Buffer;

  /** In place, as a disk does it. */
  async function play(damage: Damage): Promise<void> {
    await writeFile(daemon.objectFile(victim.name), damage(object(victim), object(after)));
  }
  beforeEach(() => play((whole) => whole));

  async function expectWhole(file: MadeFile): Promise<void> {
    const { status, body, sha256 } = await fetchWal(file.name, daemon);
    expect(status).toBe(200);
    expect(sha256).toBe(sha256Of(file.bytes));
    expect(body.equals(file.bytes)).toBe(true);
  }

  async function expectRepairedByPush(): Promise<void> {
    expect((await pushWal(victim, daemon)).status).toBeOneOf([200, 201]);
    await expectWhole(victim);
    expect((await readFile(daemon.objectFile(victim.name))).length).toBe(object(victim).length);
  }

  test("is never served, whichever byte has flipped, and a push repairs it", async () => {
    for (let place = 0; place < PLACES; place++) {
      const last = object(victim).length - 1;
      const offset = place < 32 ? Math.floor((last * place) / 32) : last - (place - 32);
      await play(flip(offset));
      expect(await fetchWal(victim.name, daemon), `offset ${offset}`).toMatchObject({
        status: 500,
        code: "corrupt",
      });
      await expectRepairedByPush();
    }
    await expectWhole(before);
    await expectWhole(after);
  });

  test("is never served, wherever it was cut, and a push repairs it", async () => {
    for (let place = 0; place < PLACES; place++) {
      const { length } = object(victim);
      const at = place < 32 ? Math.floor((length * place) / 32) : length - (place - 31);
      await play(cut(at));
      expect(await fetchWal(victim.name, daemon), `length ${at}`).toMatchObject({
        status: 500,
        code: "corrupt",
      });
      await expectRepairedByPush();
    }
    await expectWhole(before);
    await expectWhole(after);
  });

  describe.each(KINDS)("with $title", ({ damage }) => {
    beforeEach(() => play(damage));

    test("fails its fetch with status 10, in a recovery with 200, and nothing is delivered", async () => {
      const place = `data${(recoveries += 1)}`;
      const data = await scene.workspace.makeDirectory(place);
      const wal = await scene.workspace.makeDirectory(place, "pg_wal");
      const fetch = (target: string) => {
        return scene.walarc(["fetch", victim.name, target], { server: daemon.url, cwd: data });
      };

      const asPerson = await fetch("pg_wal/somewhere");
      const inRecovery = await fetch("pg_wal/RECOVERYXLOG");
      await writeFile(join(data, "standby.signal"), "");
      const onStandby = await fetch("pg_wal/RECOVERYXLOG");

      expect([asPerson.status, inRecovery.status, onStandby.status]).toEqual([10, 200, 10]);
      for (const { stderr } of [asPerson, inRecovery, onStandby]) {
        expect(stderr).toMatch(/^walarc: fetch [0-9A-F]{24}: corrupt: /);
      }
      for (const name of ["somewhere", "RECOVERYXLOG"]) {
        expect(existsSync(join(wal, name))).toBe(false);
      }
    });

    test("is repaired by a push of the same content, and what was there is kept to look at", async () => {
      const found = await readFile(daemon.objectFile(victim.name));
      expect((await scene.push(victim, { server: daemon.url })).status).toBe(0);

      await expectWhole(victim);
      await expectWhole(before);
      await expectWhole(after);
      const metrics = String((await daemon.get("/metrics")).body);
      expect(metrics).toMatch(/^walarc_fetch_total\{.*outcome="corrupt".*\} [1-9]/m);
      expect(await isKept(found)).toBe(true);
    });

    test("is found by a daemon that starts on it", async () => {
      await daemon.kill();
      await daemon.start();

      expect(await fetchWal(victim.name, daemon)).toMatchObject({ status: 500, code: "corrupt" });
      await expectWhole(before);
      await expectRepairedByPush();
    });
  });

  // An object with neither its metadata nor its frame cannot tell any more what it was.
  test.each(KINDS.filter(({ tellsDigest }) => tellsDigest))(
    "with $title is not repaired by a push of other content",
    async ({ damage }) => {
      await play(damage);
      const other = makeSegment({ number: 8, segmentSizeBytes: MIB, seed: "other" });

      expect((await pushWal(other, daemon)).status).toBe(409);
      expect(await fetchWal(victim.name, daemon)).toMatchObject({ status: 500, code: "corrupt" });
      await expectRepairedByPush();
    },
  );

  async function isKept(content: Buffer): Promise<boolean> {
    const damaged = join(daemon.storeDirectory, "clusters/main/damaged");
    for (const name of (await filesBelow(damaged)).keys()) {
      if (content.equals(await readFile(join(damaged, name)))) return true;
    }
    return false;
  }
});
