import { expect, test } from "vitest";
import { expectArchived } from "../support/archived.ts";
import {
  ARCHIVER_DIED,
  acknowledgedBy,
  archiverCounts,
  fillSegments,
} from "../support/archiver.ts";
import { describeScene } from "../support/scene.ts";

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
    await expectArchived(acknowledgedBy(primary), daemon);
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
    await expectArchived(acknowledgedBy(primary), daemon);
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
    // Alone the push would have waited for 60 s.
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    daemon.thaw();
    await primary.start();
    await primary.archiverCaughtUp();

    await expectArchived(await scene().archivedBy(primary), daemon);
    await expectArchived(acknowledgedBy(primary), daemon);
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
      // Of the load nobody knows when it fills a segment, on a busy machine.
      await fillSegments(primary, 3);
      await primary.eventually("more is archived", async () => {
        return (await archiverCounts(primary)).archived > before.archived + 2;
      });
      await daemon.kill();
      await fillSegments(primary, 1);
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
