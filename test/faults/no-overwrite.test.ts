import { readFile } from "node:fs/promises";
import { zstdDecompressSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { WalarcDaemon } from "../support/daemon.ts";
import {
  FaultScene,
  filesBelow,
  KEEP_ALL,
  reportLogsOf,
  nothingStaged,
} from "../support/fault-scene.ts";
import { describeFaults } from "../support/fault-tools.ts";
import { loserStatusOf, RIVAL_KINDS, rivals } from "../support/rivals.ts";
import { Strace } from "../support/strace.ts";
import { fetchWal } from "../support/wal-http.ts";
import * as maker from "../support/wal-maker.ts";

const { MIB } = maker;
const PUSHERS_EACH = 8;

const cases = RIVAL_KINDS.flatMap((kind, at) => [
  { kind, slowed: "at once" as const, number: 10 + at },
  { kind, slowed: "held back before they publish" as const, number: 20 + at },
]);

describeFaults(
  "two servers that push different content under one name",
  { needs: ["strace"] },
  () => {
    let scene: FaultScene;
    let daemon: WalarcDaemon;
    reportLogsOf(() => scene);
    beforeAll(async () => {
      scene = await FaultScene.open();
      daemon = await scene.daemon({ workers: 32, moreConfig: KEEP_ALL });
      const first = maker.makeSegment({ number: 1, segmentSizeBytes: MIB });
      expect((await scene.push(first, { server: daemon.url })).status).toBe(0);
    });
    afterAll(() => scene?.[Symbol.asyncDispose]());

    test.each(cases)("$kind, $slowed: one of them wins", async (row) => {
      const pair = rivals(row.kind, row.number);
      const name = pair[0].name;
      const sources = [await scene.source(pair[0]), await scene.source(pair[1])];
      await using stack = new AsyncDisposableStack();
      if (row.slowed !== "at once") {
        const inject = ["link,linkat:delay_enter=250000"];
        const target = { trace: [], inject, threads: "workers" } as const;
        stack.use(await Strace.attach(daemon.pid, target));
      }

      const statuses = await Promise.all(
        Array.from({ length: 2 * PUSHERS_EACH }, async (_, at) => {
          const source = sources[at % 2] ?? "";
          const { status } = await scene.walarc(["push", source], { server: daemon.url });
          return { side: at % 2, status };
        }),
      );

      const { status, body } = await fetchWal(name, daemon);
      expect(status).toBe(200);
      const winner = body.equals(pair[0].bytes) ? 0 : 1;
      expect(body.equals(pair[winner].bytes)).toBe(true);
      for (const push of statuses) {
        expect(push.status).toBe(push.side === winner ? 0 : loserStatusOf(row.kind));
      }
      await expectKeptAside(pair[1 - winner] as maker.MadeFile);
      await nothingStaged(daemon.storeDirectory);
    });

    /** For a person to look at, and readable with nothing but zstd. */
    async function expectKeptAside(loser: maker.MadeFile): Promise<void> {
      const key = `clusters/main/conflicts/${loser.name}.${maker.sha256Of(loser.bytes)}`;
      const kept = [...(await filesBelow(daemon.storeDirectory)).keys()].filter((path) => {
        return path.startsWith(`clusters/main/conflicts/${loser.name}`);
      });
      expect(kept).toEqual([key]);
      const object = await readFile(`${daemon.storeDirectory}/${key}`);
      expect(zstdDecompressSync(object).equals(loser.bytes)).toBe(true);
    }

    test("the loser stays the loser: a later push of it is refused, one of the winner is not", async () => {
      const [first, second] = rivals("segment", 30);
      const push = (file: maker.MadeFile) => scene.push(file, { server: daemon.url });
      expect((await push(first)).status).toBe(0);

      const refused = await push(second);
      expect(refused.status).toBe(4);
      expect(refused.stderr).toMatch(/^walarc: push 00000001000000000000001E: conflict: /);
      // What is archived is for those who may fetch; its digest stands in the daemon's log.
      expect(refused.stderr).not.toContain(maker.sha256Of(first.bytes));
      expect(daemon.log()).toContain(maker.sha256Of(first.bytes));
      expect(refused.stderr).toContain(maker.sha256Of(second.bytes));

      await daemon.kill();
      await daemon.start();
      expect((await push(second)).status).toBe(4);
      expect((await push(first)).status).toBe(0);
      await expectKeptAside(second);
      const { body } = await daemon.get("/metrics");
      expect(String(body)).toMatch(/^walarc_push_total\{.*outcome="conflict".*\} 1$/m);
    });
  },
);
