import { readdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { beforeAll, expect, test } from "vitest";
import type { WalarcDaemon } from "../support/daemon.ts";
import { FaultProxy } from "../support/fault-proxy.ts";
import type { PostgresCluster } from "../support/postgres.ts";
import type { Settings } from "../support/postgres-settings.ts";
import { type Manner, RestoreGate } from "../support/restore-gate.ts";
import { describeScene } from "../support/scene.ts";
import { WEATHERS } from "../support/weather.ts";

const BATCHES = 5;
const BATCH_ROWS = 1000;
const ALL_ROWS = String(BATCHES * BATCH_ROWS);
const TIMELINE = "select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
const ROWS = "select count(*) from t";
const STOCK = "pgsql_tmp.walarc";

/**
 * PostgreSQL takes a restore_command's status from 1 to 125 for the end of the WAL, and then opens
 * the database with what it has. So in a recovery nothing but true absence may end like that.
 */
describeScene("a recovery to the end of the WAL", (scene) => {
  let primary: PostgresCluster;
  let backup: string;
  /** The store of a daemon that has stopped, to be copied. */
  let store: string;
  /** Archived segments, one for each batch of rows. */
  let segments: string[];
  /** The segment that is struck: rows come before it, and rows after. */
  let victim: string;

  beforeAll(async () => {
    const daemon = await scene().daemon({ name: "origin" });
    primary = await scene().primary({ name: "primary", server: daemon.url });
    await primary.query("create table t (batch int, id int)");
    backup = await primary.baseBackup(scene().workspace.path("backup"), "none");
    segments = [];
    for (let batch = 1; batch <= BATCHES; batch++) {
      await primary.query(`insert into t select ${batch}, generate_series(1, ${BATCH_ROWS})`);
      segments.push(await primary.value("select pg_walfile_name(pg_current_wal_lsn())"));
      await primary.archiveEverything();
    }
    victim = String(segments[2]);
    store = daemon.storeDirectory;
    await primary.stop();
    await daemon.stop();
  });

  test.each(WEATHERS)(
    "stops and never opens early while $title, and completes afterwards",
    async (weather) => {
      await using daemon = await daemonOnCopy();
      await using proxy = await proxyBefore(daemon);
      const pushAgain = (): Promise<void> => scene().pushAgain(victim, primary, daemon.url);
      const stage = { daemon, proxy, victim, neighbour: String(segments[0]), pushAgain };
      const gate = await gateBefore(victim);
      const server = weather.through === "proxy" ? proxy.url : daemon.url;
      await using recovered = await recovery({ server, gate });
      await strike(gate, recovered, () => weather.begin(stage));
      const end = await recovered.recoveryEnd();

      expect(end).toMatchObject({ kind: "stopped", log: expect.stringContaining("FATAL") });
      expect(gate.statuses(victim)).toEqual([200]);
      const line = new RegExp(`^walarc: .*${victim}.*: (${weather.codes.join("|")})`, "m");
      expect(end.log).toMatch(line);
      expect(await recovered.controlData("Database cluster state")).toBe("in archive recovery");

      await weather.end(stage);
      recovered.launch({ WALARC_TIMEOUT: "60" });
      expect((await recovered.recoveryEnd()).kind).toBe("open");
      expect(await recovered.value(ROWS)).toBe(ALL_ROWS);
    },
  );

  test("stops before it begins when the daemon is down, for there may be a newer timeline", async () => {
    await using daemon = await daemonOnCopy();
    await daemon.kill();
    await using recovered = await recovery({ server: daemon.url });

    const end = await recovered.recoveryEnd();
    expect(end).toMatchObject({ kind: "stopped", log: expect.stringContaining("FATAL") });
    expect(end.log).toMatch(/^walarc: .*00000002\.history.*: unreachable/m);
  });

  test("stops as well with prefetching on, which asks for every segment twice", async () => {
    await using daemon = await daemonOnCopy();
    const gate = await gateBefore(victim);
    const settings = { recovery_prefetch: "try" };
    await using recovered = await recovery({ server: daemon.url, gate, settings });
    await strike(gate, recovered, () => daemon.kill());

    expect((await recovered.recoveryEnd()).kind).toBe("stopped");
  });

  test("goes on with what was fetched ahead when the daemon is gone, and stops where that ends", async () => {
    await using daemon = await daemonOnCopy();
    const gate = await gateBefore(victim);
    await using recovered = await recovery({ server: daemon.url, gate });
    await gate.during(victim, async () => {
      await recovered.eventually("it is fetched ahead", () => stockOf(recovered).includes(victim));
      await daemon.kill();
    });

    const end = await recovered.recoveryEnd();
    expect(end).toMatchObject({ kind: "stopped", log: expect.stringContaining("FATAL") });
    expect(gate.statuses(victim)).toEqual([0]);
    expect(end.log).toContain(`restored log file "${victim}" from archive`);
    expect(end.log).toMatch(/^walarc: fetch [0-9A-F]{24}: unreachable: /m);
    await daemon.start();
    recovered.launch();
    expect((await recovered.recoveryEnd()).kind).toBe("open");
    expect(await recovered.value(ROWS)).toBe(ALL_ROWS);
    await recovered.eventually(
      "nothing is left of the stock",
      () => !readdirSync(recovered.walDirectory).includes(STOCK),
    );
  });

  test("waits for a daemon that is back before the deadline, and then goes on", async () => {
    await using daemon = await daemonOnCopy();
    const gate = await gateBefore(victim);
    await using recovered = await recovery({ server: daemon.url, gate, timeoutSeconds: 60 });
    await strike(gate, recovered, () => daemon.kill());
    await setTimeout(2000); // the outage: time in which a wrong client would give up
    await daemon.start();

    expect((await recovered.recoveryEnd()).kind).toBe("open");
    expect(gate.statuses(victim)).toEqual([0]);
    expect(await recovered.value(ROWS)).toBe(ALL_ROWS);
  });

  test("opens with all rows when the daemon is gone at the very end, its signal file removed", async () => {
    await using daemon = await daemonOnCopy();
    const last = "00000001.history"; // the history of the timeline it leaves, which has none
    const gate = await gateBefore(last);
    await using recovered = await recovery({ server: daemon.url, gate });
    await gate.during(last, () => daemon.kill());

    expect((await recovered.recoveryEnd()).kind).toBe("open");
    expect(gate.statuses(last)).toEqual([3]);
    expect(await recovered.value(ROWS)).toBe(ALL_ROWS);
    expect(await recovered.value(TIMELINE)).toBe("00000002");
  });

  test("would open early if the failure were passed on as 1: these tests can see it", async () => {
    await using daemon = await daemonOnCopy();
    const gate = await gateBefore(victim, "naive");
    await using recovered = await recovery({ server: daemon.url, gate });
    await strike(gate, recovered, () => daemon.kill());

    expect((await recovered.recoveryEnd()).kind).toBe("open");
    expect(await recovered.value(ROWS)).toBe(String(2 * BATCH_ROWS));
  });

  /**
   * Something happens to the archive while PostgreSQL waits for the victim, and nothing that was
   * fetched ahead of it is left.
   */
  async function strike(
    gate: RestoreGate,
    recovered: PostgresCluster,
    happening: () => Promise<void> | void,
  ): Promise<void> {
    await gate.during(victim, async () => {
      await happening();
      await rm(join(recovered.walDirectory, STOCK), {
        recursive: true,
        force: true,
        maxRetries: 5,
      });
    });
  }

  /** The segments that were fetched ahead. */
  function stockOf(recovered: PostgresCluster): string[] {
    const directory = join(recovered.walDirectory, STOCK);
    return readdirSync(directory).flatMap((key) => readdirSync(join(directory, key)));
  }

  /** Each test damages an archive of its own. */
  async function daemonOnCopy(): Promise<WalarcDaemon> {
    const name = scene().freshName("walarc");
    const storeDirectory = await scene().copy(store, `${name}.store`);
    return scene().daemon({ name, storeDirectory });
  }

  function proxyBefore(daemon: WalarcDaemon): Promise<FaultProxy> {
    return FaultProxy.start(scene().workspace, scene().freshName("proxy"), daemon.socketPath);
  }

  /** A restore_command that holds PostgreSQL before `name`. */
  async function gateBefore(name: string, manner?: Manner): Promise<RestoreGate> {
    const gate = await RestoreGate.build(scene().workspace, scene().freshName("gate"), manner);
    await gate.hold(name);
    return gate;
  }

  /** A launched recovery of the backup. */
  async function recovery(options: {
    server: string;
    gate?: RestoreGate;
    settings?: Settings;
    timeoutSeconds?: number;
  }): Promise<PostgresCluster> {
    const { server, gate, timeoutSeconds = 3 } = options;
    const recovered = await scene().restored(backup, {
      name: scene().freshName("recovered"),
      server,
      timeoutSeconds,
      settings: {
        archive_mode: "off",
        // Prefetching asks for a segment a second time, which can hide a failure.
        recovery_prefetch: "off",
        ...(gate === undefined ? {} : { restore_command: gate.restoreCommand }),
        ...options.settings,
      },
    });
    await recovered.becomeRecovery();
    recovered.launch();
    return recovered;
  }
});
