import { zstdDecompressSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Bucket } from "../support/bucket.ts";
import type { WalarcDaemon } from "../support/daemon.ts";
import { FaultScene, KEEP_ALL, reportLogsOf } from "../support/fault-scene.ts";
import { describeRgw } from "../support/rgw-scene.ts";
import { loserStatusOf, RIVAL_KINDS, rivals } from "../support/rivals.ts";
import { fetchWal } from "../support/wal-http.ts";
import { type MadeFile, makeSegment, MIB, sha256Of } from "../support/wal-maker.ts";

const PUSHERS_EACH = 8;

describeRgw("two servers that push different content through two daemons", (rgw) => {
  let scene: FaultScene;
  let bucket: Bucket;
  let daemons: readonly [WalarcDaemon, WalarcDaemon];
  reportLogsOf(() => scene);
  beforeAll(async () => {
    scene = await FaultScene.open();
    bucket = await rgw().bucket();
    daemons = [await daemonOnBucket(), await daemonOnBucket()];
    const first = makeSegment({ number: 1, segmentSizeBytes: MIB });
    expect((await scene.push(first, { server: daemons[0].url })).status).toBe(0);
  });
  afterAll(async () => {
    await scene?.[Symbol.asyncDispose]();
    bucket?.[Symbol.dispose]();
  });

  test.each(RIVAL_KINDS.map((kind, at) => ({ kind, number: 10 + at })))(
    "$kind: one of them wins, and both daemons say the same",
    async ({ kind, number }) => {
      const pair = rivals(kind, number);
      const { name } = pair[0];
      const sources = [await scene.source(pair[0]), await scene.source(pair[1])];
      const pushes = await Promise.all(
        Array.from({ length: 2 * PUSHERS_EACH }, async (_, at) => {
          const side = at % 2;
          // Each content through each daemon.
          const daemon = daemons[Math.floor(at / 2) % 2] ?? daemons[0];
          const { status } = await scene.walarc(["push", sources[side] ?? ""], {
            server: daemon.url,
          });
          return { side, status };
        }),
      );

      const answers = await Promise.all(daemons.map((daemon) => fetchWal(name, daemon)));
      const winner = answers[0]?.body.equals(pair[0].bytes) === true ? 0 : 1;
      for (const { status, body } of answers) {
        expect(status).toBe(200);
        expect(body.equals(pair[winner].bytes)).toBe(true);
      }
      const loserStatus = loserStatusOf(kind);
      expect(pushes).toEqual(
        pushes.map(({ side }) => ({ side, status: side === winner ? 0 : loserStatus })),
      );
      await expectKeptAside(pair[1 - winner] as MadeFile);
    },
  );

  /** For a person to look at, once, and readable with nothing but zstd. */
  async function expectKeptAside(loser: MadeFile): Promise<void> {
    const directory = `clusters/main/conflicts/${loser.name}.`;
    const keys = [...(await bucket.objects()).keys()].filter((key) => key.startsWith(directory));
    expect(keys).toEqual([directory + sha256Of(loser.bytes)]);
    const object = await bucket.get(directory + sha256Of(loser.bytes));
    expect(zstdDecompressSync(object).equals(loser.bytes)).toBe(true);
  }

  function daemonOnBucket(): Promise<WalarcDaemon> {
    return scene.daemon({ bucket, moreConfig: KEEP_ALL });
  }
});
