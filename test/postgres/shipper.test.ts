import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import { sha256Of } from "../support/faults.ts";
import type { PostgresCluster } from "../support/postgres.ts";
import { isRunning, killIfRunning } from "../support/recovering-server.ts";
import { describeScene } from "../support/scene.ts";
import { MIB } from "../support/wal-maker.ts";

const LEDGER = "pgsql_tmp.walarc-push";
const BACKLOG = 24;
const BATCH_ROWS = 1000;

/** A daemon elsewhere, to which every segment has to be sent. */
describeScene("a backlog for a daemon on another host", (scene) => {
  let daemon: WalarcDaemon;
  let primary: PostgresCluster;
  let env: Record<string, string>;
  let backup: string;

  test("is archived whole, whatever is killed on its way", async () => {
    const token = "walarc_of_the_primary";
    const rights = 'clusters = ["*"]\nscopes = ["push", "fetch"]';
    const sha256 = sha256Of(Buffer.from(token));
    daemon = await scene().daemon({
      listen: `127.0.0.1:${await freePort()}`,
      moreConfig: `[[tokens]]\nname = "primary"\nsha256 = "${sha256}"\n${rights}\n`,
    });
    const path = scene().workspace.path("token");
    env = { WALARC_TOKEN_FILE: await scene().workspace.writeFile(path, token, 0o600) };
    primary = await scene().primary({
      name: "primary",
      server: daemon.tcpUrl,
      env,
      settings: { wal_keep_size: "1GB" },
    });
    await primary.query("create table t (batch int, id int)");
    backup = await primary.baseBackup(scene().workspace.path("backup"), "none");
    await fillUnarchived();

    const killed = new Set<number>();
    const isCaughtUp = async () => {
      const shipper = shipperOf(primary);
      if (shipper !== undefined && !killed.has(shipper) && killed.size < 3) {
        killed.add(shipper);
        killIfRunning(shipper);
        if (killed.size === 2) {
          await daemon.kill();
          await daemon.start();
          await primary.switchWal(); // wakes an archiver that has given up for a minute
        }
      }
      return segmentsWaiting(primary).length === 0;
    };
    await primary.eventually("its archiver has caught up", isCaughtUp, 90_000);
    expect(killed.size).toBeGreaterThan(0);
    await expectAllArchived();
  });

  test("is archived by a shipper that goes with it, and leaves nothing", async () => {
    const before = primary.log().length;
    await fillUnarchived();
    await primary.archiverCaughtUp();
    const shipper = shipperOf(primary);
    await expectAllArchived();
    expect(primary.log().slice(before)).not.toMatch(/^walarc: /m);

    await primary.stop();
    await eventually("the shipper is gone", () => shipper === undefined || !isRunning(shipper));
    expect(existsSync(join(primary.walDirectory, LEDGER))).toBe(false);
  });

  test("went over the network compressed", async () => {
    const { body } = await daemon.get("/metrics");
    const [, received] = /^walarc_received_bytes_total\{.*\} (\S+)$/m.exec(String(body)) ?? [];
    expect(Number(received)).toBeGreaterThan(0);
    expect(Number(received)).toBeLessThan((2 * BACKLOG * MIB) / 2);
  });

  test("is fetched ahead by a recovery, compressed as well, and is all there", async () => {
    await using recovered = await scene().restored(backup, {
      name: "recovered",
      server: daemon.tcpUrl,
      env,
      settings: { archive_mode: "off" },
    });
    await recovered.becomeRecovery();
    recovered.launch();
    expect((await recovered.recoveryEnd()).kind).toBe("open");
    expect(await recovered.value("select count(*) from t")).toBe(String(2 * BACKLOG * BATCH_ROWS));
    expect(recovered.log()).not.toMatch(/^walarc: /m);
  });

  /** A backlog, at which the archiver is let loose. */
  async function fillUnarchived(): Promise<void> {
    await primary.query("alter system set archive_command = '/bin/false'");
    await primary.query("select pg_reload_conf()");
    for (let batch = 1; batch <= BACKLOG; batch++) {
      await primary.query(`insert into t select ${batch}, generate_series(1, ${BATCH_ROWS})`);
      await primary.switchWal();
    }
    await primary.query("alter system reset archive_command");
    await primary.query("select pg_reload_conf()");
    await primary.switchWal(); // wakes an archiver that has given up for a minute
  }

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

/** The daemon is to be found there again after it was killed. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
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
