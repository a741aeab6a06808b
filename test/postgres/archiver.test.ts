import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { expectArchived } from "../support/archived.ts";
import type { PostgresCluster } from "../support/postgres.ts";
import { describeScene } from "../support/scene.ts";

/** What a killed or broken archive_command leaves in the log; PostgreSQL does not count those. */
const ARCHIVER_DIED = /archiver process .* exited|archive command was terminated/;

interface Status {
  readonly timelines: readonly { readonly ranges: unknown[]; readonly gaps: unknown[] }[];
}

describeScene("the archiver of a primary that is stopped with a backlog", (scene) => {
  test("archives all of it before the stop ends, once the daemon no longer hangs", async () => {
    await using daemon = await scene().daemon({ name: "frozen" });
    await using primary = await scene().primary({ name: "primary", server: daemon.url });
    await primary.query("create table t (id int)");
    await primary.archiveEverything();
    daemon.freeze();
    await fillSegments(primary, 20);
    expect(primary.waitingForArchiver().length).toBeGreaterThanOrEqual(20);
    const stopped = primary.stop("fast");
    await primary.eventually("it shuts down", () => primary.log().includes("shutting down"));
    daemon.thaw();

    expect(await stopped).toBe(0);
    expect(primary.waitingForArchiver()).toEqual([]);
    await expectArchived(await scene().archivedBy(primary), daemon);
    await expectArchived(acknowledged(primary), daemon);
    expect(primary.log()).not.toMatch(ARCHIVER_DIED);
  });

  test("archives it after the next start, when the daemon was gone the whole time", async () => {
    await using daemon = await scene().daemon({ name: "gone" });
    await using primary = await scene().primary({ name: "late-primary", server: daemon.url });
    await primary.query("create table t (id int)");
    await primary.archiveEverything();
    expect(await daemon.stop()).toBe(0);
    await fillSegments(primary, 20);
    expect(await primary.stop("fast")).toBe(0);
    expect(primary.waitingForArchiver().length).toBeGreaterThanOrEqual(20);
    await daemon.start();
    await primary.start();
    await primary.archiverCaughtUp();

    await expectArchived(await scene().archivedBy(primary), daemon);
    await expectArchived(acknowledged(primary), daemon);
    expect(primary.log()).not.toMatch(ARCHIVER_DIED);
  });
});

describeScene("the archiver of a primary that is stopped in the middle of a push", (scene) => {
  test("takes the push along, and archives the file after the next start", async () => {
    const daemon = await scene().daemon();
    const primary = await scene().primary({ name: "primary", server: daemon.url });
    await primary.query("create table t (id int)");
    await primary.archiveEverything();
    daemon.freeze();
    await fillSegments(primary, 2);
    const startedAt = performance.now();
    await primary.stop("immediate");
    expect(performance.now() - startedAt).toBeLessThan(10_000); // alone it would have waited for 60 s
    daemon.thaw();
    await primary.start();
    await primary.archiverCaughtUp();

    await expectArchived(await scene().archivedBy(primary), daemon);
    await expectArchived(acknowledged(primary), daemon);
  });
});

describeScene("the archiver of a primary under load", (scene) => {
  test("goes on by itself and leaves no gap when the daemon is killed again and again", async () => {
    const daemon = await scene().daemon();
    const primary = await scene().primary({ name: "primary", server: daemon.url });
    await primary.pgbench("--initialize", "--scale=1", "--quiet");
    const load = primary.pgbench("--client=4", "--time=8");
    for (let round = 1; round <= 3; round++) {
      const before = await archiverCounts(primary);
      await primary.eventually("more is archived", async () => {
        return (await archiverCounts(primary)).archived > before.archived + 2;
      });
      await daemon.kill();
      await primary.eventually("a push fails", async () => {
        return (await archiverCounts(primary)).failed > before.failed;
      });
      await daemon.start();
    }
    await load;
    await primary.archiveEverything();

    const status = await scene().walarcJson<Status>(["status", "--json"], daemon.url);
    expect(status.timelines).toMatchObject([{ timeline: 1, ranges: [{}], gaps: [] }]);
    const files = await scene().archivedBy(primary);
    expect(files.size).toBeGreaterThan(10);
    await expectArchived(files, daemon);
    expect(primary.log()).not.toMatch(ARCHIVER_DIED);
  });
});

describeScene("a daemon between several primaries", (scene) => {
  test("keeps their clusters apart, and refuses one in the place of another", async () => {
    const daemon = await scene().daemon();
    const server = daemon.url;
    const [first, second, stranger] = await Promise.all([
      scene().primary({ name: "first", server, cluster: "first" }),
      scene().primary({ name: "second", server, cluster: "second" }),
      scene().primary({ name: "stranger", server, cluster: "nobodys" }),
    ]);
    for (const primary of [first, second]) {
      await primary.query("create table t (id int)");
      await fillSegments(primary, 5);
    }
    await Promise.all([first.archiverCaughtUp(), second.archiverCaughtUp()]);
    await stranger.configure({ archive_command: "walarc push --cluster first %p" });
    await stranger.query("select pg_reload_conf()");
    await stranger.query("create table t (id int)");
    await stranger.switchWal();
    const line = /^walarc: push .*: rejected: /m;
    await stranger.eventually("it is refused", () => line.test(stranger.log()));

    expect((await archiverCounts(stranger)).archived).toBe(0);
    expect(stranger.waitingForArchiver()).not.toEqual([]);
    expect(stranger.log()).not.toMatch(ARCHIVER_DIED);
    await expectArchived(await scene().archivedBy(first), daemon, "first");
    await expectArchived(await scene().archivedBy(second), daemon, "second");
  });

  test("takes what curl sends as archive_command", async () => {
    const daemon = await scene().daemon({ name: "for-curl" });
    const url = "http://walarc/v1/clusters/main/wal/%f";
    const primary = await scene().primary({ name: "primary", server: "unused" });
    const kept = scene().workspace.path("primary.archived");
    await primary.configure({
      archive_command: `cp %p ${kept}/%f && curl -sS --fail --unix-socket ${daemon.socketPath} -T %p ${url}`,
    });
    await primary.query("select pg_reload_conf()");
    await primary.query("create table t (id int)");
    await fillSegments(primary, 5);
    await primary.archiverCaughtUp();

    const files = await scene().archivedBy(primary);
    expect(files.size).toBeGreaterThanOrEqual(5);
    await expectArchived(files, daemon);
    expect((await archiverCounts(primary)).failed).toBe(0);
  });
});

async function fillSegments(primary: PostgresCluster, count: number): Promise<void> {
  for (let segment = 0; segment < count; segment++) {
    await primary.query("insert into t select generate_series(1, 100)");
    await primary.switchWal();
  }
}

async function archiverCounts(
  primary: PostgresCluster,
): Promise<{ archived: number; failed: number }> {
  const [row] = await primary.query("select archived_count, failed_count from pg_stat_archiver");
  return { archived: Number(row?.["archived_count"]), failed: Number(row?.["failed_count"]) };
}

/** What the server holds for archived and has not yet removed, as it is in its own `pg_wal`. */
function acknowledged(server: PostgresCluster): Map<string, Buffer> {
  const status = readdirSync(join(server.walDirectory, "archive_status"));
  const names = status.filter((name) => name.endsWith(".done")).map((name) => name.slice(0, -5));
  return new Map(names.map((name) => [name, readFileSync(join(server.walDirectory, name))]));
}
