import { existsSync } from "node:fs";
import { copyFile, rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { expectArchived, sinceBackup } from "../support/archived.ts";
import type { WalarcDaemon } from "../support/daemon.ts";
import type { PostgresCluster } from "../support/postgres.ts";
import { describeScene } from "../support/scene.ts";

const TIMELINE = "select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";

describeScene("a promotion inside a segment that the old primary goes on writing", (scene) => {
  let daemon: WalarcDaemon;
  let oldPrimary: PostgresCluster;
  let newPrimary: PostgresCluster;
  let backup: string;
  /** The segment in which the timelines part: a name without its timeline. */
  let position: string;

  test("the new primary archives its history, the old timeline's rest, and goes on", async () => {
    daemon = await scene().daemon();
    oldPrimary = await scene().primary({ name: "old-primary", server: daemon.url });
    backup = await oldPrimary.baseBackup(scene().workspace.path("backup"), "stream");
    newPrimary = await scene().standby(backup, {
      name: "new-primary",
      server: daemon.url,
      // It streams, so it has the beginning of a segment that nobody has archived.
      settings: { primary_conninfo: `host=${oldPrimary.socketDirectory} port=5432 user=postgres` },
    });
    await oldPrimary.query("create table t as select generate_series(1, 1000) as id");
    await newPrimary.replayed(await oldPrimary.value("select pg_current_wal_lsn()"));
    await newPrimary.promote();
    await newPrimary.query("insert into t values (1001)");
    await newPrimary.archiveEverything();

    const files = await scene().archivedBy(newPrimary);
    const [, switchLsn] = String(files.get("00000002.history")).split("\t");
    const name = await newPrimary.value("select pg_walfile_name($1::pg_lsn)", [switchLsn]);
    position = name.slice(8);
    expect([...files.keys()]).toEqual(
      expect.arrayContaining([`00000001${position}.partial`, `00000002${position}`]),
    );
  });

  test("each kind of WAL file is fetched under its exact name", async () => {
    const files = await scene().archivedBy(oldPrimary, newPrimary);
    const backup = [...files.keys()].find((name) => name.endsWith(".backup"));
    const names = ["00000002.history", `00000001${position}.partial`, `00000002${position}`];

    for (const name of [String(backup), ...names]) {
      const fetched = await scene().fetch(name, daemon.url);
      expect({ name, same: files.get(name)?.equals(fetched) }).toEqual({ name, same: true });
    }
  });

  test("a partial segment never answers for the segment", async () => {
    const target = scene().workspace.path("never");
    const asked = await scene().walarc(["fetch", `00000001${position}`, target], daemon.url);

    expect(asked.status).toBe(1);
    expect(existsSync(target)).toBe(false);
  });

  test("when the old primary stops, that position is archived three ways, without alarm", async () => {
    await oldPrimary.query("insert into t values (2001)");
    expect(await oldPrimary.stop()).toBe(0);

    const byOld = await scene().archivedBy(oldPrimary);
    expect([...byOld.keys()]).toContain(`00000001${position}`);
    await expectArchived(sinceBackup(await scene().archivedBy(oldPrimary, newPrimary)), daemon);
    for (const server of [oldPrimary, newPrimary]) {
      expect(server.log()).not.toContain("archive command failed");
    }
    expect(existsSync(join(daemon.storeDirectory, "clusters/main/conflicts"))).toBe(false);
    const metrics = String((await daemon.get("/metrics")).body);
    expect(metrics).not.toMatch(/^walarc_push_total\{.*"(conflict|rejected|failed)".*\} [1-9]/m);
    expect(metrics).toMatch(/^walarc_gap_segments\{cluster="main"\} 0$/m);
  });

  test.each([
    ["damaged", "corrupt", (file: string) => truncate(file, 20)],
    ["lost", "gap", (file: string) => rm(file)],
  ])("a recovery does not miss the new timeline for a %s history: %s", async (how, code, harm) => {
    const file = daemon.objectFile("00000002.history");
    await copyFile(file, scene().workspace.path("history"));
    await harm(file);
    await using recovered = await scene().restored(backup, {
      name: `recovered-${how}`,
      server: daemon.url,
      settings: { archive_mode: "off" },
    });
    await recovered.becomeRecovery();
    recovered.launch();

    const end = await recovered.recoveryEnd();
    expect(end.kind).toBe("stopped");
    expect(end.log).toMatch(new RegExp(`^walarc: fetch 00000002\\.history: ${code}`, "m"));
    await copyFile(scene().workspace.path("history"), file);
    recovered.launch();
    expect((await recovered.recoveryEnd()).kind).toBe("open");
    expect(await recovered.value("select max(id) from t")).toBe("1001");
    expect(await recovered.value(TIMELINE)).toBe("00000003");
  });
});

/**
 * A promotion waits for the restore_command that is running and then asks four times more, so
 * misses that took seconds each would add up to half a minute without a primary.
 */
describeScene("an idle standby that knows only the archive", (scene) => {
  const PROMOTION_MS_MAX = 10_000;
  let daemon: WalarcDaemon;
  let backup: string;
  let end: string;

  test("is promoted within seconds, because a miss is answered at once", async () => {
    daemon = await scene().daemon();
    const primary = await scene().primary({ name: "primary", server: daemon.url });
    backup = await primary.baseBackup(scene().workspace.path("backup"), "none");
    await primary.query("create table t as select generate_series(1, 1000) as id");
    end = await primary.archiveEverything();
    await primary.stop();

    expect(await promotionMs("standby")).toBeLessThan(PROMOTION_MS_MAX);
  });

  test("is promoted within seconds even when the daemon is gone", async () => {
    const tookMs = await promotionMs("lonely-standby", () => daemon.kill());

    expect(tookMs).toBeLessThan(PROMOTION_MS_MAX);
  });

  async function promotionMs(name: string, prepare?: () => Promise<void>): Promise<number> {
    const standby = await scene().standby(backup, {
      name,
      server: daemon.url,
      settings: { wal_retrieve_retry_interval: "5s", archive_mode: "off" },
    });
    await standby.replayed(end);
    await prepare?.();
    const startedAt = performance.now();
    await standby.promote();
    const tookMs = performance.now() - startedAt;
    expect(await standby.value("select count(*) from t")).toBe("1000");
    expect(await standby.value(TIMELINE)).toBe("00000002");
    await standby.stop();
    return tookMs;
  }
});
