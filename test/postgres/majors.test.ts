import { expect, test } from "vitest";
import { expectArchived } from "../support/archived.ts";
import { packagedPostgres } from "../support/postgres-programs.ts";
import { RestoreGate } from "../support/restore-gate.ts";
import { cannotRun, describeScene } from "../support/scene.ts";

describeScene("other majors of PostgreSQL", (scene) => {
  test.for([16, 17, 18])("%i archives its WAL, and recovers from it", async (major, { skip }) => {
    const programs = await packagedPostgres(major, scene().workspace.path(`pg${major}`));
    if ("missing" in programs) return cannotRun(programs.missing, skip);
    await using daemon = await scene().daemon({ name: `walarc-${major}` });
    await using primary = await scene().primary({
      name: `primary-${major}`,
      server: daemon.url,
      programs,
    });
    // These packages have no pg_basebackup, and a stopped server's files are a backup as well.
    await primary.stop();
    const backup = await scene().copy(primary.dataDirectory, `backup-${major}`);
    await primary.start();
    expect(await primary.value("show server_version_num")).toMatch(new RegExp(`^${major}`));
    await primary.query("create table t as select generate_series(1, 20000) as id");
    await primary.archiveEverything();
    await expectArchived(await scene().archivedBy(primary), daemon);

    // At the very end of a recovery the signal file is gone, and a failing fetch must not matter.
    const last = "00000001.history";
    const gate = await RestoreGate.build(scene().workspace, `gate-${major}`);
    await gate.hold(last);
    await using restored = await scene().restored(backup, {
      name: `restored-${major}`,
      server: daemon.url,
      programs,
      timeoutSeconds: 60,
      settings: { archive_mode: "off", restore_command: gate.restoreCommand },
    });
    await restored.becomeRecovery();
    restored.launch();
    await gate.during(last, () => daemon.kill());

    expect((await restored.recoveryEnd()).kind).toBe("open");
    expect(gate.statuses(last)).toEqual([3]);
    expect(await restored.value("select count(*) from t")).toBe("20000");
  });
});
