import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import type { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import type { PostgresCluster } from "../support/postgres.ts";
import { isRunning, killIfRunning } from "../support/recovering-server.ts";
import { RestoreGate } from "../support/restore-gate.ts";
import { describeScene } from "../support/scene.ts";

const BATCHES = 12;
const BATCH_ROWS = 1000;
const ROWS = "select count(*) from t";
const TIMELINE = "select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
const STOCK = "pgsql_tmp.walarc";

/** Segments that are fetched while PostgreSQL replays the one before. */
describeScene("with segments fetched ahead of it", (scene) => {
  let daemon: WalarcDaemon;
  let primary: PostgresCluster;
  let backup: string;
  let segments: string[];

  beforeAll(async () => {
    daemon = await scene().daemon();
    primary = await scene().primary({ name: "primary", server: daemon.url });
    await primary.query("create table t (batch int, id int)");
    backup = await primary.baseBackup(scene().workspace.path("backup"), "none");
    segments = [];
    for (let batch = 1; batch <= BATCHES; batch++) {
      await primary.query(`insert into t select ${batch}, generate_series(1, ${BATCH_ROWS})`);
      segments.push(await primary.value("select pg_walfile_name(pg_current_wal_lsn())"));
      await primary.archiveEverything();
    }
    await primary.stop();
  });

  test("a recovery replays everything and leaves no stock", async () => {
    await using recovered = await scene().restored(backup, {
      name: "recovered",
      server: daemon.url,
      settings: { archive_mode: "off" },
    });
    await recovered.becomeRecovery();
    recovered.launch();
    expect((await recovered.recoveryEnd()).kind).toBe("open");
    expect(await recovered.value(ROWS)).toBe(String(BATCHES * BATCH_ROWS));
    await recovered.eventually("its stock is gone", () => !hasStock(recovered));
    expect(recovered.log()).not.toContain("walarc:");
  });

  test("a standby that is promoted meanwhile takes what the archive has, and then a new timeline", async () => {
    const gate = await RestoreGate.build(scene().workspace, "promoted.gate");
    const victim = String(segments[5]);
    await gate.hold(victim);
    const standby = await scene().restored(backup, {
      name: "promoted",
      server: daemon.url,
      settings: { restore_command: gate.restoreCommand, wal_retrieve_retry_interval: "200ms" },
    });
    await standby.becomeStandby();
    await standby.start();
    let prefetcher = 0;
    await gate.during(victim, async () => {
      prefetcher = await prefetcherOf(standby);
      await standby.eventually("the next one is fetched ahead", () => {
        return stockOf(standby).includes(String(segments[6]));
      });
      await standby.query("select pg_promote(false)");
    });
    await standby.eventually("it is promoted", async () => !(await standby.isInRecovery()));
    expect(await standby.value(ROWS)).toBe(String(BATCHES * BATCH_ROWS));
    expect(await standby.value(TIMELINE)).toBe("00000002");
    await eventually("the prefetcher is gone", () => !isRunning(prefetcher));
    expect(hasStock(standby)).toBe(false);

    await standby.query("insert into t select 0, generate_series(1, 10)");
    await standby.archiveEverything();
    await standby.stop();
  });

  test("another standby crosses to that timeline", async () => {
    const standby = await scene().standby(backup, { name: "follower", server: daemon.url });
    await standby.eventually("it has the rows of both timelines", async () => {
      return (await standby.value(ROWS)) === String(BATCHES * BATCH_ROWS + 10);
    });
    expect(standby.log()).toContain('restored log file "00000002.history" from archive');

    // It may have gone by itself meanwhile.
    const prefetcher = prefetchersIn(standby)[0] ?? 0;
    await standby.stop();
    await eventually("nothing of it is left", () => !isRunning(prefetcher) && !hasStock(standby));
  });

  test("a recovery gets there whatever is killed on its way", async () => {
    await using recovered = await scene().restored(backup, {
      name: "battered",
      server: daemon.url,
      settings: { archive_mode: "off", recovery_target_timeline: "1" },
      timeoutSeconds: 60,
    });
    await recovered.becomeRecovery();
    recovered.launch();
    let killed = 0;
    const end = recovered.recoveryEnd();
    const over = new AbortController();
    void end.finally(() => over.abort()).catch(() => undefined);
    while (!over.signal.aborted) {
      for (const pid of prefetchersIn(recovered)) if (killIfRunning(pid)) killed += 1;
      if (killed === 2) {
        killed += 1;
        await daemon.kill();
        await daemon.start();
      }
      await new Promise((resolve) => void setTimeout(resolve, 20));
    }
    expect((await end).kind).toBe("open");
    expect(killed).toBeGreaterThan(0);
    expect(await recovered.value(ROWS)).toBe(String(BATCHES * BATCH_ROWS));
  });

  test("a server that is stopped at once takes its prefetcher along", async () => {
    const gate = await RestoreGate.build(scene().workspace, "stopped.gate");
    const victim = String(segments[5]);
    for (const mode of ["fast", "immediate"] as const) {
      await gate.hold(victim);
      await using standby = await scene().restored(backup, {
        name: `stopped-${mode}`,
        server: daemon.url,
        settings: { restore_command: gate.restoreCommand },
      });
      await standby.becomeStandby();
      await standby.start();
      await standby.eventually("segments are fetched ahead", () => stockOf(standby).length > 0);
      const prefetcher = await prefetcherOf(standby);
      await standby.stop(mode);
      await eventually("the prefetcher is gone", () => !isRunning(prefetcher));
      expect({ mode, files: filesOf(standby) }).toEqual({ mode, files: [] });
    }
  });

  test("a rewound server has neither its own stock nor that of the server it follows", async () => {
    const source = await scene().restored(primary.dataDirectory, {
      name: "source",
      server: daemon.url,
      settings: { archive_mode: "off", recovery_target_timeline: "1" },
    });
    await source.becomeStandby();
    await source.start();
    await source.promote();
    await primary.start();
    await primary.query("insert into t values (0, 0)");
    await crashWithShipper();
    const file = `${STOCK}/0123456789abcdef/${segments[0]}`;
    for (const server of [source, primary]) {
      const name = server === source ? file : `${file}-old`;
      const parts = join(server.name, "data/pg_wal", name).split("/");
      for (let length = 4; length < parts.length; length += 1) {
        await scene().workspace.makeDirectory(...parts.slice(0, length));
      }
      await scene().workspace.writeFile(join(server.walDirectory, name), "what was fetched ahead");
    }

    expect(await primary.rewindTo(source)).toMatchObject({ status: 0 });
    expect(hasStock(primary)).toBe(false);
    await source.stop();
  });

  /** The primary goes down, and what its shipper has left stays where it is. */
  async function crashWithShipper(): Promise<void> {
    await primary.query("alter system set archive_command = '/bin/false'");
    await primary.query("select pg_reload_conf()");
    for (let batch = 1; batch <= 4; batch++) {
      await primary.query("insert into t values (0, 0)");
      await primary.switchWal();
    }
    await primary.query("alter system reset archive_command");
    await primary.query("select pg_reload_conf()");
    await primary.switchWal();
    const shipper = await eventually("there is a shipper", () => shipperOf(primary));
    process.kill(shipper, "SIGSTOP");
    expect(sockets(primary)).toHaveLength(1);
    await primary.stop("immediate");
    process.kill(shipper, "SIGKILL");
    expect(sockets(primary)).toHaveLength(1);
  }
});

function shipperOf({ walDirectory }: PostgresCluster): number | undefined {
  const owner = readdirSync(walDirectory, { recursive: true, encoding: "utf8" })
    .filter((path) => path.startsWith(`${STOCK}-push/`))
    .find((path) => path.endsWith("/owner"));
  if (owner === undefined || sockets({ walDirectory }).length === 0) return undefined;
  return Number.parseInt(readFileSync(join(walDirectory, owner), "latin1"), 10);
}

function sockets({ walDirectory }: Pick<PostgresCluster, "walDirectory">): string[] {
  return readdirSync(walDirectory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isSocket())
    .map(({ name }) => name);
}

function hasStock(server: PostgresCluster): boolean {
  return existsSync(join(server.walDirectory, STOCK));
}

/** The segments that are ready in the stock. */
function stockOf(server: PostgresCluster): string[] {
  const names = filesOf(server).map((path) => path.split("/").at(-1) ?? "");
  return names.filter((name) => /^[0-9A-F]{24}$/.test(name));
}

function filesOf(server: PostgresCluster): string[] {
  const stock = join(server.walDirectory, STOCK);
  const keys = existsSync(stock) ? readdirSync(stock) : [];
  return keys.flatMap((key) => readdirSync(join(stock, key)).map((name) => join(stock, key, name)));
}

function prefetchersIn(server: PostgresCluster): number[] {
  try {
    const owners = filesOf(server).filter((path) => path.endsWith("/owner"));
    return owners
      .map((path) => Number.parseInt(readFileSync(path, "latin1"), 10))
      .filter(isRunning);
  } catch {
    return []; // It is just going.
  }
}

async function prefetcherOf(server: PostgresCluster): Promise<number> {
  return await server.eventually("it has a prefetcher", () => prefetchersIn(server)[0]);
}
