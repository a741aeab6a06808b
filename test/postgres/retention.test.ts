/**
 * Retention on real servers: a primary with a load, a standby that the daemon asks, and one that
 * reports and is then left far behind, while the archive is pruned all the time. Each test goes on
 * where the one before it ended.
 */
import { request } from "node:http";
import { expect, test } from "vitest";
import type { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import type { PostgresCluster } from "../support/postgres.ts";
import { describeScene } from "../support/scene.ts";

const CONTENT = `
  select (select sum(abalance) from pgbench_accounts) || ' accounts, ' ||
         (select coalesce(sum(delta), 0) || ' in ' || count(*) from pgbench_history)`;

interface Status {
  readonly claims: readonly { kind: string; name: string; from: string | null; doubt?: string }[];
  readonly horizon: string | null;
  readonly heldBy: readonly { kind: string; name: string }[];
  readonly explanation: string;
  readonly damaged: readonly string[];
}

interface StandbyList {
  readonly standbys: readonly {
    name: string;
    restartPoint: string | null;
    source: string;
    role?: string;
    problem?: string;
  }[];
}

describeScene("retention by the restart points of many standbys", (scene) => {
  let daemon: WalarcDaemon;
  let primary: PostgresCluster;
  let asked: PostgresCluster;
  let reporting: PostgresCluster;
  let firstBackup: string;

  test("nothing is removed before each configured standby was heard from", async () => {
    const socket = scene().workspace.path("asked");
    daemon = await scene().daemon({
      moreConfig: `[clusters.main.retention]
interval = "300ms"
keep_backups = 1
[clusters.main.standbys.asked]
conninfo = "host='${socket}' port=5432 user=postgres dbname=postgres"
`,
    });
    // Keeps little WAL of its own, so that whoever comes later depends on the archive.
    const settings = { min_wal_size: "2MB", max_wal_size: "4MB" };
    primary = await scene().primary({ name: "primary", server: daemon.url, settings });
    firstBackup = await primary.baseBackup(scene().workspace.path("backup-1"), "none");
    await primary.pgbench("--initialize", "--scale=1", "--quiet");
    await primary.archiveEverything();

    await eventually("the daemon has asked in vain", async () => {
      const { standbys } = await list();
      return standbys.some(({ problem }) => problem?.includes("does not answer"));
    });
    expect(await status()).toMatchObject({
      horizon: null,
      heldBy: [{ kind: "standby", name: "asked" }],
    });
    expect(await archived()).toEqual([...(await scene().archivedBy(primary)).keys()]);
  });

  test("the daemon asks one standby, another reports, and the backup holds more", async () => {
    asked = await scene().standby(firstBackup, { name: "asked", server: daemon.url });
    reporting = await standbyThatReports(firstBackup, "reporting");
    await advance(asked);
    await advance(reporting);
    // A standby takes restart points by itself, too, and is asked anew a moment later.
    await eventually("both are known", async () => {
      const points = [await restartPointOf(asked), await restartPointOf(reporting)];
      const { standbys } = await list();
      expect(standbys).toMatchObject([
        { name: "asked", source: "sql", restartPoint: points[0] },
        { name: "reporting", source: "report", restartPoint: points[1] },
      ]);
      return true;
    });
    await eventually("what is older than the backup is gone", async () => {
      const { horizon, heldBy } = await status();
      const [oldest] = await archived();
      return heldBy[0]?.kind === "backup" && oldest === horizon;
    });
    const [first] = (await scene().archivedBy(primary)).keys();
    expect(await archived()).not.toContain(first);
  });

  test("a clone of the claimed backup recovers to the end, and moves nobody's claim", async () => {
    const wanted = await primary.value(CONTENT);
    await primary.archiveEverything();
    const clone = await scene().restored(firstBackup, {
      name: "clone",
      server: daemon.url,
      settings: {
        archive_mode: "off",
        archive_cleanup_command: "walarc cleanup %r --standby reporting",
        recovery_target_action: "pause",
        recovery_target_timeline: "latest",
      },
    });
    await clone.becomeRecovery();
    await clone.start();
    await clone.eventually("it has a restart point", async () => {
      if (!(await clone.isInRecovery())) return true;
      await clone.query("checkpoint");
      return clone.log().includes("nothing was reported: this server is no standby");
    });
    expect(clone.log()).toContain("nothing was reported: this server is no standby");
    const { kind } = await clone.recoveryEnd();
    expect(kind).toBe("open");
    expect(await clone.value(CONTENT)).toBe(wanted);
    // It told them all: the clone's were far behind the standby's own.
    expect(daemon.log()).not.toContain("restart point moved back");
    expect((await list()).standbys.map(({ name }) => name)).toEqual(["asked", "reporting"]);
    await clone.stop();
  });

  test("one standby stands still while 50 prunes follow the other through a load", async () => {
    const stuckAt = await standStill(reporting);
    // Supersedes the first backup, whose claim ends.
    await primary.baseBackup(scene().workspace.path("backup-2"), "none");
    for (let round = 0; round < 5; round += 1) {
      await primary.pgbench("--client=2", "--transactions=300", "--no-vacuum");
      await advance(asked);
      for (let turn = 0; turn < 10; turn += 1) expect(await prune()).toBe(200);
      expect((await archived())[0]).toBe(stuckAt);
    }
    expect(await restartPointOf(asked)).not.toBe(stuckAt);
    expect(await status()).toMatchObject({
      horizon: stuckAt,
      heldBy: [{ kind: "standby", name: "reporting" }],
      explanation: expect.stringMatching(
        /^standby "reporting" \(last heard from .*\) holds \d+ seg/,
      ),
    });
    const printed = await walarc("status", "--cluster", "main");
    expect(printed).toMatch(/^kept because +standby "reporting"/m);
  });

  test("it catches up from the archive alone, and what it held back goes", async () => {
    const stuckAt = await restartPointOf(reporting);
    await reporting.stop("immediate");
    await reporting.start();
    const end = await primary.archiveEverything();
    await reporting.replayed(end);
    expect(await reporting.value(CONTENT)).toBe(await primary.value(CONTENT));
    expect(await reporting.value("select count(*) from pg_stat_wal_receiver")).toBe("0");

    await advance(reporting);
    await eventually("the archive shrinks", async () => {
      const [oldest = ""] = await archived();
      return oldest > stuckAt;
    });
    expect(await walarc("fetch", stuckAt, scene().workspace.path("gone"))).toContain("gap");
  });

  test("after a promotion the claims move over to the new timeline", async () => {
    await primary.archiveEverything();
    await primary.kill();
    await asked.promote();
    await asked.archiveEverything();
    await eventually("the daemon sees a primary", async () => {
      const { standbys } = await list();
      return standbys.some(({ name, role }) => name === "asked" && role === "primary");
    });
    expect((await status()).claims.map(({ name }) => name)).not.toContain("asked");

    await asked.pgbench("--client=2", "--transactions=100", "--no-vacuum");
    await advance(reporting, asked);
    const moved = (await status()).claims.find(({ name }) => name === "reporting");
    expect(moved?.from).toMatch(/^00000002/);

    // The last claim on the old timeline is the backup's; a new backup ends it.
    const backup = await asked.baseBackup(scene().workspace.path("backup-3"), "none");
    await asked.archiveEverything();
    await advance(reporting, asked);
    await eventually("the old timeline is gone, but for its history", async () => {
      return (await archived()).every((name) => name.startsWith("00000002"));
    });
    expect(await archived()).toContain("00000002.history");
    const late = await standbyThatReports(backup, "late");
    await late.replayed(await asked.archiveEverything());
    expect(await late.value(CONTENT)).toBe(await asked.value(CONTENT));
    expect((await status()).damaged).toEqual([]);
  });

  async function standbyThatReports(backup: string, name: string): Promise<PostgresCluster> {
    const settings = { archive_cleanup_command: `walarc cleanup %r --standby ${name}` };
    return scene().standby(backup, { name, server: daemon.url, settings });
  }

  /** Makes a restart point at the end of all WAL, and waits until the daemon knows of it. */
  async function advance(standby: PostgresCluster, upstream = primary): Promise<void> {
    await upstream.query("checkpoint");
    await standby.replayed(await upstream.archiveEverything());
    await standby.query("checkpoint");
    await known(standby);
  }

  /** Pauses its replay; its restart point from then on, once the daemon knows it. */
  async function standStill(standby: PostgresCluster): Promise<string> {
    await standby.query("select pg_wal_replay_pause()");
    await standby.eventually("its replay is paused", async () => {
      return (await standby.value("select pg_get_wal_replay_pause_state()")) === "paused";
    });
    // What it could still have made of it by itself, it makes now.
    await standby.query("checkpoint");
    return known(standby);
  }

  /** Its restart point, once the daemon knows it. It may take another one meanwhile. */
  async function known(standby: PostgresCluster): Promise<string> {
    return standby.eventually("the daemon knows its restart point", async () => {
      const restartPoint = await restartPointOf(standby);
      const { standbys } = await list();
      return (
        standbys.some((one) => {
          return one.name === standby.name && one.restartPoint === restartPoint;
        }) && restartPoint
      );
    });
  }

  async function restartPointOf(standby: PostgresCluster): Promise<string> {
    return standby.value("select redo_wal_file from pg_control_checkpoint()");
  }

  async function status(): Promise<Status> {
    return scene().walarcJson<Status>(["status", "--json"], daemon.url);
  }

  async function list(): Promise<StandbyList> {
    return scene().walarcJson<StandbyList>(["standby", "ls", "--json"], daemon.url);
  }

  async function archived(): Promise<string[]> {
    interface Page {
      readonly files: readonly { readonly name: string }[];
    }
    const { files } = await scene().walarcJson<Page>(["ls", "--json"], daemon.url);
    return files.map(({ name }) => name);
  }

  /** As `walarc prune` asks for it; the status of the answer. */
  async function prune(): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const path = "/v1/clusters/main/prune";
    request({ socketPath: daemon.socketPath, method: "POST", path, agent: false }, (answer) => {
      answer.resume().once("end", () => resolve(answer.statusCode ?? 0));
    })
      .once("error", reject)
      .end();
    return promise;
  }

  /** All that the command says. */
  async function walarc(...args: string[]): Promise<string> {
    const { stdout, stderr } = await scene().walarc(args, daemon.url);
    return stdout + stderr;
  }
});
