import { readdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import type { WalarcDaemon } from "../support/daemon.ts";
import { FaultProxy } from "../support/fault-proxy.ts";
import type { PostgresCluster } from "../support/postgres.ts";
import { RestoreGate } from "../support/restore-gate.ts";
import { describeScene } from "../support/scene.ts";
import { type Weather, WEATHERS } from "../support/weather.ts";

/** Names that PostgreSQL itself has in pg_wal. */
const WAL_FILE = /^[0-9A-F]{8}(\.history|[0-9A-F]{16}(\.[0-9A-F]{8}\.backup)?)$/;

const ROWS = "select count(*) from t";

/** The exit status of each failure: on a standby `walarc fetch` keeps it. */
const STATUSES: Readonly<Record<string, number>> = {
  usage: 2,
  unreachable: 3,
  rejected: 5,
  denied: 6,
  "store-failed": 7,
  gap: 9,
  corrupt: 10,
};

/**
 * A status above 125 ends a standby, any other makes it ask again: the reverse of a recovery. Every
 * test strikes the segment that the standby is waiting for.
 */
describeScene("a standby that knows only the archive", (scene) => {
  let daemon: WalarcDaemon;
  let proxy: FaultProxy;
  let primary: PostgresCluster;
  /** One standby asks the daemon itself, the other the proxy before it. */
  let standbys: Readonly<
    Record<Weather["through"], { server: PostgresCluster; gate: RestoreGate }>
  >;

  beforeAll(async () => {
    daemon = await scene().daemon();
    proxy = await FaultProxy.start(scene().workspace, "proxy", daemon.socketPath);
    primary = await scene().primary({ name: "primary", server: daemon.url });
    await primary.query("create table t (id int)");
    const backup = await primary.baseBackup(scene().workspace.path("backup"), "none");
    const standby = async (name: string, server: string) => {
      const gate = await RestoreGate.build(scene().workspace, `${name}.gate`);
      const settings = { restore_command: gate.restoreCommand, recovery_prefetch: "off" };
      const options = { name, server, settings, timeoutSeconds: 4 };
      return { server: await scene().standby(backup, options), gate };
    };
    standbys = {
      daemon: await standby("standby", daemon.url),
      proxy: await standby("standby-behind-proxy", proxy.url),
    };
    return () => proxy[Symbol.asyncDispose]();
  });

  test.each(WEATHERS)("stays up while $title, and catches up afterwards", async (weather) => {
    const { server: standby, gate } = standbys[weather.through];
    const before = await primary.value(ROWS);
    const { name: victim } = await archiveRows((name) => gate.hold(name));
    const { name: neighbour } = await archiveRows();
    const pushAgain = (): Promise<void> => scene().pushAgain(victim, primary, daemon.url);
    const stage = { daemon, proxy, victim, neighbour, pushAgain };

    await gate.during(victim, async () => {
      await weather.begin(stage);
      await emptyStock(standby);
    });
    const failures = await standby.eventually("it has asked twice", () => {
      const statuses = gate.statuses(victim);
      return statuses.length >= 2 && statuses;
    });
    const expected = weather.codes.map((code) => STATUSES[code]);
    expect(failures.filter((status) => !expected.includes(status))).toEqual([]);
    expect(await standby.isInRecovery()).toBe(true);
    expect(await standby.value(ROWS)).toBe(before);

    await weather.end(stage);
    await standby.replayed((await archiveRows()).end);
    expect(await standby.value(ROWS)).toBe(await primary.value(ROWS));
  });

  test("stops at once although the daemon hangs, and leaves no piece of a file behind", async () => {
    const { server: standby, gate } = standbys.daemon;
    const { name: victim } = await archiveRows((name) => gate.hold(name));
    await gate.during(victim, async () => {
      daemon.freeze();
      await emptyStock(standby);
    });
    await gate.asking(victim);
    const startedAt = performance.now();
    await standby.stop("fast");
    const tookMs = performance.now() - startedAt;
    daemon.thaw();

    expect(tookMs).toBeLessThan(3000); // alone the fetch would have waited for 4 s
    // A prefetcher that was there ends a moment after its server.
    await standby.eventually("nothing but WAL is left", () => {
      const left = readdirSync(standby.walDirectory).filter((name) => !WAL_FILE.test(name));
      return left.join() === "archive_status";
    });
    await standby.start();
    await standby.replayed((await archiveRows()).end);
  });

  /** Archives a segment with more rows in it; `beforehand` still finds it open. */
  async function archiveRows(
    beforehand?: (name: string) => Promise<void>,
  ): Promise<{ name: string; end: string }> {
    await primary.query("insert into t select generate_series(1, 1000)");
    const name = await primary.value("select pg_walfile_name(pg_current_wal_lsn())");
    await beforehand?.(name);
    return { name, end: await primary.archiveEverything() };
  }
});

/** What was fetched ahead is lost: the standby has to ask for it now. */
async function emptyStock(standby: PostgresCluster): Promise<void> {
  const stock = join(standby.walDirectory, "pgsql_tmp.walarc");
  await rm(stock, { recursive: true, force: true, maxRetries: 5 });
}
