import { rm } from "node:fs/promises";
import { expect, test } from "vitest";
import { expectArchived } from "../support/archived.ts";
import {
  ARCHIVER_DIED,
  acknowledgedBy,
  archiverCounts,
  fillSegments,
} from "../support/archiver.ts";
import type { WalarcDaemon } from "../support/daemon.ts";
import type { PostgresCluster } from "../support/postgres.ts";
import { describeScene, type Scene } from "../support/scene.ts";

/** A daemon on the host of these servers: each has a cluster of its own name. */
async function daemonBeside(scene: Scene, ...servers: string[]): Promise<WalarcDaemon> {
  const tables = servers.map((name) => {
    return `[clusters.${name}]\ndata_directory = "${scene.workspace.path(name, "data")}"\n`;
  });
  return await scene.daemon({ moreConfig: tables.join("\n") });
}

/** Names whose calls found them archived already. */
function aheadOf(daemon: WalarcDaemon): unknown[] {
  return daemon
    .logLines()
    .filter((line) => line["isAhead"] === true)
    .map((line) => line["wal"]);
}

async function pushesCounted(daemon: WalarcDaemon, cluster: string): Promise<number[]> {
  const metrics = String((await daemon.get("/metrics")).body);
  return ["archived", "already_archived", "conflict", "rejected", "failed"].map((outcome) => {
    const line = `walarc_push_total\\{cluster="${cluster}",outcome="${outcome}"\\} (\\d+)`;
    return Number(new RegExp(line).exec(metrics)?.[1]);
  });
}

describeScene("a backlog beside the daemon that reads pg_wal itself", (scene) => {
  let daemon: WalarcDaemon;
  let primary: PostgresCluster;

  test("is archived ahead of the calls, and each file counts once", async () => {
    daemon = await daemonBeside(scene(), "main");
    primary = await scene().primary({ name: "main", server: daemon.url });
    await primary.query("create table t (id int)");
    daemon.freeze();
    await fillSegments(primary, 30);
    daemon.thaw();
    await primary.archiverCaughtUp();

    expect(aheadOf(daemon).length).toBeGreaterThan(15);
    const files = await scene().archivedBy(primary);
    await expectArchived(files, daemon);
    const { archived } = await archiverCounts(primary);
    // The call that PostgreSQL gave up while the daemon stood still may have come twice.
    const [counted = 0, again = 0, ...others] = await pushesCounted(daemon, "main");
    expect(counted).toBe(files.size);
    expect(counted + again).toBeGreaterThanOrEqual(archived);
    expect(others).toEqual([0, 0, 0]);
  });

  test("loses nothing when the daemon is killed in the middle, again and again", async () => {
    for (let round = 0; round < 3; round += 1) {
      await daemon.kill();
      await fillSegments(primary, 12);
      const before = aheadOf(daemon).length;
      await daemon.start();
      // After three failures PostgreSQL's archiver sleeps for a minute, or until there is more.
      await fillSegments(primary, 1);
      await primary.eventually("it looks ahead", () => aheadOf(daemon).length > before);
    }
    await primary.archiveEverything();
    await primary.archiverCaughtUp();

    await expectArchived(await scene().archivedBy(primary), daemon);
    await expectArchived(acknowledgedBy(primary), daemon);
    expect((await pushesCounted(daemon, "main")).slice(2)).toEqual([0, 0, 0]);
    expect(primary.log()).not.toMatch(ARCHIVER_DIED);
  });

  test("is refused when another cluster with equal names stands in the directory", async () => {
    const files = await scene().archivedBy(primary);
    await primary[Symbol.asyncDispose]();
    for (const name of ["main", "main.archived"]) {
      await rm(scene().workspace.path(name), { recursive: true });
    }
    await using other = await scene().primary({ name: "main", server: daemon.url });
    await other.query("create table t (id int)");
    const refused = () => (other.log().match(/archive command failed/g)?.length ?? 0) > 2;
    await fillSegments(other, 8);
    await other.eventually("its pushes are refused", refused);

    expect((await archiverCounts(other)).archived).toBe(0);
    await expectArchived(files, daemon);
    expect((await pushesCounted(daemon, "main"))[2]).toBe(0);
  });
});

describeScene("a standby that archives always, beside a daemon that looks ahead", (scene) => {
  let daemon: WalarcDaemon;
  let primary: PostgresCluster;
  let standby: PostgresCluster;

  test("archives what it receives, its promotion, and the timeline after it", async () => {
    daemon = await daemonBeside(scene(), "primary", "standby");
    const server = daemon.url;
    primary = await scene().primary({ name: "primary", server, cluster: "primary" });
    const backup = await primary.baseBackup(scene().workspace.path("backup"), "stream");
    standby = await scene().standby(backup, {
      name: "standby",
      server,
      cluster: "standby",
      settings: {
        archive_mode: "always",
        wal_keep_size: "64MB",
        primary_conninfo: `host=${primary.socketDirectory} port=5432 user=postgres`,
      },
    });
    await fillSegments(primary, 10);
    await standby.replayed(await primary.value("select pg_current_wal_lsn()"));
    await standby.promote();
    await fillSegments(standby, 10);
    await standby.archiveEverything();
    await standby.archiverCaughtUp();

    const files = await scene().archivedBy(standby);
    expect([...files.keys()]).toContain("00000002.history");
    await expectArchived(files, daemon, "standby");
    expect((await pushesCounted(daemon, "standby")).slice(2)).toEqual([0, 0, 0]);
  });

  test("a rewound primary archives its own next timeline, and nothing twice", async () => {
    await primary.query("insert into t select generate_series(1, 1000)");
    await primary.archiveEverything();
    await primary.stop();
    // pg_rewind reads the new timeline from the control file, which a checkpoint writes.
    await standby.query("checkpoint");
    expect((await primary.rewindTo(standby)).status).toBe(0);
    // The rewind brought the settings of the other server along.
    const kept = scene().workspace.path("primary.archived");
    await primary.configure({
      archive_mode: "on",
      archive_command: `cp %p ${kept}/%f && walarc push %p`,
      primary_conninfo: `host=${standby.socketDirectory} port=5432 user=postgres`,
    });
    await primary.becomeStandby();
    await primary.start();
    await standby.query("insert into t values (1)");
    await primary.replayed(await standby.value("select pg_current_wal_lsn()"));
    await primary.promote();
    await fillSegments(primary, 10);
    await primary.archiveEverything();
    await primary.archiverCaughtUp();

    const files = await scene().archivedBy(primary);
    const ofTimeline = [...files].filter(([name]) => name.startsWith("00000003"));
    expect(ofTimeline.length).toBeGreaterThan(8);
    await expectArchived(new Map(ofTimeline), daemon, "primary");
    expect((await pushesCounted(daemon, "primary")).slice(2)).toEqual([0, 0, 0]);
  });
});
