import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { expectArchived } from "../support/archived.ts";
import {
  ARCHIVER_DIED,
  acknowledgedBy,
  archiverCounts,
  fillSegments,
} from "../support/archiver.ts";
import { Flood } from "../support/flood.ts";
import { digestOf } from "../support/memory-archive.ts";
import type { PostgresCluster } from "../support/postgres.ts";
import { describeScene } from "../support/scene.ts";

/** Seconds of rolling restarts; two minutes show what a few seconds may miss. */
const RESTARTS_SECONDS = Number(process.env["WALARC_RESTARTS_SECONDS"] ?? 10);
const PAUSE_MS = 2000;

const TOKEN = "walarc_primary_0123456789abcdef";
const RIGHTS = `[[tokens]]
name = "primary"
sha256 = "${digestOf(Buffer.from(TOKEN))}"
clusters = ["main"]
scopes = ["push"]
`;

describeScene("a primary", (scene) => {
  test("archives over TCP while hundreds of connections are held by others", async () => {
    const listen = "127.0.0.1:0";
    const daemon = await scene().daemon({ name: "besieged", listen, moreConfig: RIGHTS });
    const { workspace } = scene();
    const file = await workspace.writeFile(workspace.path("token"), `${TOKEN}\n`);
    const primary = await scene().primary({
      name: "over-tcp",
      server: daemon.tcpUrl,
      env: { WALARC_TOKEN_FILE: file },
    });
    const target = { host: "127.0.0.1", port: Number(new URL(daemon.tcpUrl).port) };
    using flood = await Flood.open(target, { connections: 1200 });
    expect(flood.count).toBeGreaterThan(500);
    await fillSegments(primary, 20);
    await primary.archiveEverything();

    expect((await archiverCounts(primary)).failed).toBe(0);
    await expectArchived(await scene().archivedBy(primary), daemon);
  });

  test(
    "loses nothing to a daemon that is restarted again and again",
    async () => {
      const daemon = await scene().daemon({ name: "restarted" });
      const primary = await scene().primary({ name: "under-load", server: daemon.url });
      await primary.pgbench("--initialize", "--scale=1", "--quiet");
      const end = performance.now() + RESTARTS_SECONDS * 1000;
      const load = keepBusy(primary, end);
      let restarts = 0;
      while (performance.now() < end) {
        await delay(PAUSE_MS);
        expect(await daemon.stop()).toBe(0);
        await daemon.start();
        restarts += 1;
      }
      await load;
      await primary.archiveEverything();

      await expectArchived(await scene().archivedBy(primary), daemon);
      await expectArchived(acknowledgedBy(primary), daemon);
      expect(primary.log()).not.toMatch(ARCHIVER_DIED);
      // Each restart is told as such; a push that it cut short is the only other thing to say.
      const lines = daemon.logLines();
      const told = (message: string) => lines.filter(({ msg }) => msg === message).length;
      expect([told("stopping"), told("stopped")]).toEqual([restarts, restarts]);
      expect(told("walarc is serving")).toBe(restarts + 1);
      const noise = lines.filter(({ level }) => level !== "info");
      expect(noise.length).toBeLessThanOrEqual(restarts);
      expect(await noGap(primary, daemon.url)).toBe(true);
    },
    120_000 + RESTARTS_SECONDS * 1000,
  );

  /** In turns of a few seconds: no command of a test may run for a minute. */
  async function keepBusy(primary: PostgresCluster, end: number): Promise<void> {
    while (performance.now() < end) await primary.pgbench("--client=4", "--time=10");
  }

  async function noGap(primary: PostgresCluster, server: string): Promise<boolean> {
    const status = await scene().walarcJson<{
      timelines: readonly { ranges: readonly { last: string }[]; gaps: readonly unknown[] }[];
    }>(["status", "--json"], server);
    const [timeline] = status.timelines;
    const last = await primary.value(
      "select last_archived_wal from pg_stat_archiver where last_archived_wal ~ '^[0-9A-F]{24}$'",
    );
    return timeline?.gaps.length === 0 && timeline.ranges.at(-1)?.last === last;
  }
});
