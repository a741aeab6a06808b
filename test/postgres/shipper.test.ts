import { existsSync, readdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import type { PostgresCluster } from "../support/postgres.ts";
import { isRunning } from "../support/recovering-server.ts";
import { describeScene } from "../support/scene.ts";

const LEDGER = "pgsql_tmp.walarc-push";
const BACKLOG = 24;

/** A daemon elsewhere, to which every segment has to be sent. */
describeScene("a backlog for a daemon on another host", (scene) => {
  let daemon: WalarcDaemon;
  let primary: PostgresCluster;

  test("is archived whole, whatever is killed on its way", async () => {
    daemon = await scene().daemon();
    primary = await scene().primary({
      name: "primary",
      server: daemon.url,
      settings: { archive_command: "/bin/false", wal_keep_size: "1GB" },
    });
    await primary.query("create table t (batch int, id int)");
    await fill(primary);
    await primary.stop();
    // From here on its own archive_command, for which the daemon knows no data_directory.
    await primary.configure({ archive_command: "walarc push %p" });
    await primary.start();

    const killed = new Set<number>();
    await primary.eventually("its archiver has caught up", async () => {
      const shipper = shipperOf(primary);
      if (shipper !== undefined && !killed.has(shipper) && killed.size < 3) {
        killed.add(shipper);
        process.kill(shipper, "SIGKILL");
        if (killed.size === 2) {
          await daemon.kill();
          await daemon.start();
          await primary.switchWal(); // wakes an archiver that has given up for a minute
        }
      }
      return segmentsWaiting(primary).length === 0;
    });
    expect(killed.size).toBeGreaterThan(0);
    await expectAllArchived();
  });

  test("is archived by a shipper that goes with it, and leaves nothing", async () => {
    const before = primary.log().length;
    await primary.query("alter system set archive_command = '/bin/false'");
    await primary.query("select pg_reload_conf()");
    await fill(primary);
    await primary.query("alter system reset archive_command");
    await primary.query("select pg_reload_conf()");
    await primary.archiverCaughtUp();
    const shipper = shipperOf(primary);
    await expectAllArchived();
    expect(primary.log().slice(before)).not.toMatch(/^walarc: /m);

    await primary.stop();
    await eventually("the shipper is gone", () => shipper === undefined || !isRunning(shipper));
    expect(existsSync(join(primary.walDirectory, LEDGER))).toBe(false);
  });

  /** What stands in pg_wal and is done is in the archive, byte for byte. */
  async function expectAllArchived(): Promise<void> {
    const done = readdirSync(join(primary.walDirectory, "archive_status"))
      .filter((name) => /^[0-9A-F]{24}\.done$/.test(name))
      .map((name) => name.slice(0, -".done".length));
    expect(done.length).toBeGreaterThanOrEqual(BACKLOG);
    for (const name of done) {
      const same = (await readFile(join(primary.walDirectory, name))).equals(
        await scene().fetch(name, daemon.url),
      );
      expect({ name, same }).toEqual({ name, same: true });
    }
  }
});

async function fill(primary: PostgresCluster): Promise<void> {
  for (let batch = 1; batch <= BACKLOG; batch++) {
    await primary.query(`insert into t select ${batch}, generate_series(1, 1000)`);
    await primary.switchWal();
  }
}

function segmentsWaiting(primary: PostgresCluster): string[] {
  return primary.waitingForArchiver().filter((name) => /^[0-9A-F]{24}$/.test(name));
}

function shipperOf(primary: PostgresCluster): number | undefined {
  try {
    const ledger = join(primary.walDirectory, LEDGER);
    const [key = ""] = readdirSync(ledger);
    const pid = Number.parseInt(readFileSync(join(ledger, key, "owner"), "latin1"), 10);
    return isRunning(pid) ? pid : undefined;
  } catch {
    return undefined; // There is none, or it is just going.
  }
}
