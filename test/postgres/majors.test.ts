import { expect, test } from "vitest";
import { expectArchived } from "../support/archived.ts";
import { packagedPostgres } from "../support/postgres-programs.ts";
import { describeScene } from "../support/scene.ts";

const ROWS = "select count(*) from t";

describeScene("other majors of PostgreSQL", (scene) => {
  test.each([16, 17, 18])("%i archives its WAL, and a recovery reads it back", async (major) => {
    const programs = await packagedPostgres(major, scene().workspace.path(`pg${major}`));
    if ("missing" in programs) throw new Error(programs.missing);
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

    await using restored = await scene().restored(backup, {
      name: `restored-${major}`,
      server: daemon.url,
      programs,
      settings: { archive_mode: "off" },
    });
    await restored.becomeRecovery();
    await restored.start();
    expect((await restored.recoveryEnd()).kind).toBe("open");
    expect(await restored.value(ROWS)).toBe("20000");
  });
});
