import { request } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Bucket } from "../support/bucket.ts";
import type { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import { FaultScene, reportLogsOf } from "../support/fault-scene.ts";
import { describeRgw } from "../support/rgw-scene.ts";
import { fetchWal, pushWal } from "../support/wal-http.ts";
import { segment, segmentText, segmentTexts } from "../retention/stage.ts";

const ALONE = `[clusters.main.retention]
keep_backups = 0
interval = "1h"
`;

describeRgw("two daemons on one bucket", (rgw) => {
  let scene: FaultScene;
  let bucket: Bucket;
  let a: WalarcDaemon;
  let b: WalarcDaemon;
  reportLogsOf(() => scene);
  beforeAll(async () => {
    scene = await FaultScene.open();
    bucket = await rgw().bucket();
    [a, b] = [await daemonOnBucket(), await daemonOnBucket()];
  });
  afterAll(async () => {
    await scene?.[Symbol.asyncDispose]();
    bucket?.[Symbol.dispose]();
  });

  test("answer alike, keep each other's promises, and one carries on for the other", async () => {
    // The one archives, the other one answers.
    for (let number = 1; number <= 12; number += 1) {
      if (number === 7) continue;
      const { status } = await pushWal(segment(number), number % 2 === 0 ? a : b);
      expect(status).toBe(201);
    }
    expect((await fetchWal(segmentText(5), a)).status).toBe(200);
    for (const daemon of [a, b]) {
      expect((await fetchWal(segmentText(7), daemon)).code).toBe("gap");
      expect((await fetchWal(segmentText(13), daemon)).code).toBe("absent");
    }

    // What the one acknowledges binds the other.
    await report(b, 8);
    await hold(b, 4);
    const plan = { remove: segmentTexts(1, 3), heldBy: [{ kind: "hold", name: "h" }] };
    expect(await ask(a, ["prune", "--dry-run", "--json"])).toMatchObject(plan);
    expect(await ask(a, ["prune", "--json"])).toMatchObject(plan);
    expect(await ask(b, ["prune", "--json"])).toMatchObject({ remove: [] });
    expect((await fetchWal(segmentText(2), b)).code).toBe("gap");

    // One dies, and the other one goes on from what both knew.
    await a.kill();
    await hold(b, 6);
    expect(await ask(b, ["prune", "--json"])).toMatchObject({ remove: segmentTexts(4, 5) });
    await a.start();
    const [one, other] = await eventually("both tell the same", async () => {
      const told = [await ask(a, ["status", "--json"]), await ask(b, ["status", "--json"])];
      expect(told[0]?.["timelines"]).toEqual(told[1]?.["timelines"]);
      expect(told.map((status) => status["stored"])).toMatchObject([{ files: 6 }, { files: 6 }]);
      return told;
    });
    expect(one?.["claims"]).toEqual(other?.["claims"]);
    expect(one).toMatchObject({ horizon: segmentText(6), damaged: [] });

    const left = [...(await bucket.objects()).keys()].filter((key) => key.includes("/lease/"));
    expect(left).toHaveLength(1);
  });

  function daemonOnBucket(): Promise<WalarcDaemon> {
    return scene.daemon({ bucket, moreConfig: ALONE });
  }

  async function ask(daemon: WalarcDaemon, args: readonly string[]) {
    const { status, stdout, stderr } = await scene.walarc(args, { server: daemon.url });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    return JSON.parse(stdout) as Record<string, unknown>;
  }

  /** As `walarc cleanup` does on a standby. */
  async function report(daemon: WalarcDaemon, number: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
    const path = "/v1/clusters/main/standbys/s1";
    const asked = request({ socketPath: daemon.socketPath, method: "PUT", path }, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    asked.once("error", reject);
    asked.end(JSON.stringify({ restartPoint: segmentText(number) }));
    expect(await promise).toBe(200);
  }

  async function hold(daemon: WalarcDaemon, number: number): Promise<void> {
    const args = ["hold", "add", "h", "--from", segmentText(number)];
    const { status, stderr } = await scene.walarc(args, { server: daemon.url });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  }
});
