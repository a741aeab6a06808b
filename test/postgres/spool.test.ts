import { existsSync, readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { expectArchived } from "../support/archived.ts";
import type { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import type { PostgresCluster } from "../support/postgres.ts";
import { describeScene, type Scene } from "../support/scene.ts";

interface Status {
  readonly timelines: readonly { readonly ranges: unknown[]; readonly gaps: unknown[] }[];
  readonly spools: readonly { readonly files: number; readonly rejected: number }[];
}

/** As they stand in postgresql.conf, with S for the spool. */
const COMMANDS: readonly [title: string, command: string, program?: string][] = [
  ["cp", "cp %p S/%f"],
  ["cp -i, which asks nobody", "cp -i %p S/%f < /dev/null"],
  ["the manual's test and cp", "test ! -f S/%f && cp %p S/%f"],
  ["rsync", "rsync -a %p S/%f", "/usr/bin/rsync"],
  ["rsync that writes in place", "rsync -a --inplace %p S/%f", "/usr/bin/rsync"],
  [
    "a slow copy in place, as scp makes over a thin line",
    "head -c 300000 %p > S/%f && sleep 0.2 && tail -c +300001 %p >> S/%f",
  ],
  [
    "a copy that has its full size before its content",
    "truncate -s $(stat -c %%s %p) S/%f && sleep 0.2 && " +
      "dd if=%p of=S/%f conv=notrunc bs=64k status=none",
  ],
  ["a script with a temporary name", "cp %p S/%f.$$ && sync S/%f.$$ && mv S/%f.$$ S/%f"],
  ["walarc push --spool", "walarc push --spool S %p"],
];

async function daemonWithSpool(scene: Scene, settings = ""): Promise<[WalarcDaemon, string]> {
  const name = scene.freshName("daemon");
  const spool = await scene.workspace.makeDirectory(`${name}-spool`);
  const moreConfig = `[[spool]]\npath = "${spool}"\ncluster = "main"\n${settings}`;
  return [await scene.daemon({ name, moreConfig }), spool];
}

async function primaryInto(
  scene: Scene,
  options: { daemon: WalarcDaemon; spool: string; command: string },
): Promise<PostgresCluster> {
  const name = scene.freshName("primary");
  // A copy beside it, to compare with; the command itself is what people have.
  const kept = scene.workspace.path(`${name}.archived`);
  const command = options.command.replaceAll("S/%f", `${options.spool}/%f`);
  const whole = command.replace("--spool S ", `--spool ${options.spool} `);
  const settings = { archive_command: `cp %p ${kept}/%f && ${whole}` };
  return scene.primary({ name, server: options.daemon.url, settings });
}

async function drained(spool: string, daemon: WalarcDaemon): Promise<void> {
  const patience = {
    deadlineMs: 60_000,
    evidence: () => `${readdirSync(spool).join("\n")}\n${daemon.logTail()}`,
  };
  const isEmpty = async () => {
    if (readdirSync(spool).join() !== "rejected") return false;
    // The last file leaves the directory a moment before the spool has counted it.
    const { body } = await daemon.get("/metrics");
    return body.includes('walarc_spool_files{cluster="main"} 0');
  };
  await eventually(`${spool} is empty`, isEmpty, patience);
}

describeScene("a primary whose archive_command knows nothing of walarc", (scene) => {
  test.each(COMMANDS)(
    "is archived byte for byte through %s, under load, with a daemon that is killed",
    async (_title, command, program) => {
      if (program !== undefined && !existsSync(program)) {
        if (process.env["CI"] === "true") throw new Error(`${program} is not installed`);
        process.stderr.write(`\n!!! SKIPPED: ${program} is not installed\n`);
        return;
      }
      const [daemon, spool] = await daemonWithSpool(scene());
      await using primary = await primaryInto(scene(), { daemon, spool, command });
      await primary.pgbench("--initialize", "--scale=1", "--quiet");
      const backup = await primary.baseBackup(
        scene().workspace.path(scene().freshName("backup")),
        "none",
      );
      const load = primary.pgbench("--client=4", "--time=5");
      for (let round = 0; round < 2; round += 1) {
        await primary.switchWal();
        await daemon.kill();
        await primary.switchWal();
        await daemon.start();
      }
      await load;
      const end = await primary.archiveEverything();
      await primary.archiverCaughtUp();
      await drained(spool, daemon);

      const files = await scene().archivedBy(primary);
      expect(files.size).toBeGreaterThan(8);
      await expectArchived(files, daemon);
      const status = await scene().walarcJson<Status>(["status", "--json"], daemon.url);
      expect(status.timelines).toMatchObject([{ timeline: 1, ranges: [{}], gaps: [] }]);
      expect(status.spools).toMatchObject([{ files: 0, rejected: 0 }]);

      const name = scene().freshName("standby");
      await using standby = await scene().standby(backup, { name, server: daemon.url });
      await standby.replayed(end);
      await daemon[Symbol.asyncDispose]();
    },
  );

  test("loses nothing when the archiver is killed in the middle of its copies", async () => {
    const [daemon, spool] = await daemonWithSpool(
      scene(),
      'settle = "100ms"\nincomplete_after = "1s"\n',
    );
    // The manual's command can never replace what a killed copy has left: walarc moves it away.
    const slowly =
      "test ! -f S/%f && head -c 500000 %p > S/%f && sleep 0.3 && tail -c +500001 %p >> S/%f";
    await using primary = await primaryInto(scene(), { daemon, spool, command: slowly });
    await primary.query("create table t (id int)");
    for (let round = 0; round < 3; round += 1) {
      await primary.query("insert into t select generate_series(1, 1000)");
      await primary.switchWal();
      await primary.eventually("a copy is under way", () => {
        return readdirSync(spool).some((name) => /^[0-9A-F]{24}$/.test(name));
      });
      await primary.kill();
      await primary.start();
    }
    await primary.archiveEverything();
    await primary.archiverCaughtUp(120_000);
    await drained(spool, daemon);
    const files = await scene().archivedBy(primary);
    await expectArchived(files, daemon);
    const status = await scene().walarcJson<Status>(["status", "--json"], daemon.url);
    expect(status.timelines).toMatchObject([{ timeline: 1, gaps: [] }]);
  });

  test("goes on archiving while the daemon is away, and a recovery never ends too early for it", async () => {
    const [daemon, spool] = await daemonWithSpool(scene(), 'settle = "1s"\n');
    await using primary = await primaryInto(scene(), { daemon, spool, command: "cp %p S/%f" });
    await primary.query("create table t (id int)");
    const backup = await primary.baseBackup(
      scene().workspace.path(scene().freshName("backup")),
      "none",
    );
    await primary.archiveEverything();
    await drained(spool, daemon);
    await daemon.stop();
    for (let round = 0; round < 20; round += 1) {
      await primary.query("insert into t select generate_series(1, 100)");
      await primary.archiveEverything();
    }
    await primary.archiverCaughtUp();
    expect(readdirSync(spool).length).toBeGreaterThanOrEqual(20);
    // The recovery asks while the spool is still full.
    const name = scene().freshName("restored");
    await using restored = await scene().restored(backup, { name, server: daemon.url });
    await restored.becomeRecovery();
    await daemon.start();
    restored.launch();
    const end = await restored.recoveryEnd();
    if (end.kind === "open") {
      expect(await restored.value("select count(*) from t")).toBe("2000");
    } else {
      // It stopped rather than end early; the archive is complete a moment later.
      await drained(spool, daemon);
      await restored.start();
      await restored.eventually("it is open", async () => !(await restored.isInRecovery()));
      expect(await restored.value("select count(*) from t")).toBe("2000");
    }
  });
});
