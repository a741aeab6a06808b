/**
 * The life of an archive, told once for each segment size and each kind of store: a primary
 * archives under load and dies, an archive-only standby takes over, others follow it from the
 * archive alone, and the old primary comes back. Each test goes on where the one before it ended.
 * PostgreSQL's own segment size is played with the client that runs on Node, the others with the
 * standalone one.
 */
import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { expectArchived, sinceBackup } from "../support/archived.ts";
import type { WalarcDaemon } from "../support/daemon.ts";
import type { PostgresCluster } from "../support/postgres.ts";
import { describeScene, type Scene } from "../support/scene.ts";

/** Everything in pgbench's tables, in numbers that any lost or doubled row would change. */
const CONTENT = `
  select (select sum(abalance) from pgbench_accounts) || ' accounts, ' ||
         (select sum(tbalance) from pgbench_tellers) || ' tellers, ' ||
         (select sum(bbalance) from pgbench_branches) || ' branches, ' ||
         (select coalesce(sum(delta), 0) || ' in ' || count(*) from pgbench_history)`;

/** pgbench adds each amount to an account, a teller and a branch, in one transaction. */
const IS_CONSISTENT = `
  select 1 = all (select count(distinct total) from (values
    ((select sum(abalance) from pgbench_accounts)), ((select sum(tbalance) from pgbench_tellers)),
    ((select sum(bbalance) from pgbench_branches)), ((select sum(delta) from pgbench_history))
  ) as totals (total))`;

/** pgbench's own scenario; without the vacuum, which would empty its history at each start. */
const LOAD = ["--no-vacuum", "--client=4"];

const HISTORY_ROWS = "select count(*) from pgbench_history";
const TIMELINE = "select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";

/** What `walarc ls --json` says that these tests look at. */
interface Page {
  readonly files: readonly { readonly name: string }[];
}

/** What `walarc status --json` says that these tests look at. */
interface Status {
  readonly segmentSizeBytes: number;
  readonly timelines: readonly {
    readonly timeline: number;
    readonly parent: number | null;
    readonly ranges: readonly unknown[];
    readonly gaps: readonly unknown[];
  }[];
}

const LIVES = [
  { segmentSizeMb: 1, store: "a disk", needs: [] },
  { segmentSizeMb: 16, store: "a disk", needs: [] },
  { segmentSizeMb: 64, store: "a disk", needs: [] },
  { segmentSizeMb: 1, store: "a bucket", needs: ["rgw"] },
] as const;

describe.each(LIVES)("with segments of $segmentSizeMb MB on $store", (life) => {
  const { segmentSizeMb, needs } = life;
  const title = "the life of an archive";
  const body = (scene: () => Scene): void => {
    let daemon: WalarcDaemon;
    let oldPrimary: PostgresCluster;
    let newPrimary: PostgresCluster;
    let follower: PostgresCluster;
    let oldBackup: string;
    /** The primary's content when everything so far was archived, and where in the WAL that was. */
    let archived: { content: string; end: string };

    test("a primary under load archives every WAL file byte for byte", async () => {
      if (segmentSizeMb === 16) await scene().withoutStandaloneClient();
      const rgw = life.store === "a bucket" ? await scene().rgw() : undefined;
      daemon = await scene().daemon({ bucket: await rgw?.bucket() });
      oldPrimary = await scene().primary({
        name: "old-primary",
        server: daemon.url,
        segmentSizeMb,
        // Keeps little WAL of its own, so that whoever comes later depends on the archive.
        settings: {
          min_wal_size: `${2 * segmentSizeMb}MB`,
          max_wal_size: `${4 * segmentSizeMb}MB`,
        },
      });
      oldBackup = await oldPrimary.baseBackup(scene().workspace.path("backup"), "none");
      await oldPrimary.pgbench("--initialize", "--scale=1", "--quiet");
      await oldPrimary.pgbench(...LOAD, "--time=3");
      archived = await archiveAndNote(oldPrimary);

      const files = await scene().archivedBy(oldPrimary);
      await expectListed(files);
      expect([...files.keys()].filter((name) => name.endsWith(".backup"))).toHaveLength(1);
      await expectArchived(sinceBackup(files), daemon);
    });

    test("an archive-only hot standby replays it and agrees with the primary", async () => {
      newPrimary = await scene().standby(oldBackup, { name: "standby", server: daemon.url });
      await newPrimary.replayed(archived.end);

      expect(await newPrimary.value(CONTENT)).toBe(archived.content);
      expect(await newPrimary.isInRecovery()).toBe(true);
      expect(await newPrimary.value("select count(*) from pg_stat_wal_receiver")).toBe("0");
    });

    test("promoted after the primary died under load, it has all that was archived", async () => {
      follower = await scene().standby(oldBackup, { name: "follower", server: daemon.url });
      const load = oldPrimary.pgbench(...LOAD, "--time=60").catch(() => "cut off");
      const atRest = Number(await oldPrimary.value(HISTORY_ROWS));
      const rows = await oldPrimary.eventually("the load is under way", async () => {
        const now = Number(await oldPrimary.value(HISTORY_ROWS));
        return now > atRest + 100 && now;
      });
      await oldPrimary.archiveEverything();
      await oldPrimary.kill();
      await load;
      await newPrimary.promote();

      expect(await newPrimary.value(TIMELINE)).toBe("00000002");
      expect(Number(await newPrimary.value(HISTORY_ROWS))).toBeGreaterThanOrEqual(rows);
      expect(await newPrimary.value(IS_CONSISTENT)).toBe("true");
    });

    test("a standby that follows the archive alone goes over to the new timeline", async () => {
      await newPrimary.pgbench(...LOAD, "--time=1");
      archived = await archiveAndNote(newPrimary);
      await follower.replayed(archived.end);

      expect(await follower.value(CONTENT)).toBe(archived.content);
    });

    test("so does a new standby from the base backup of the old timeline", async () => {
      const late = await scene().standby(oldBackup, { name: "late", server: daemon.url });
      await late.replayed(archived.end);

      expect(await late.value(CONTENT)).toBe(archived.content);
      await late.stop();
    });

    test("a recovery of that backup ends at a restore point on the new timeline", async () => {
      const wanted = await newPrimary.value(CONTENT);
      await newPrimary.query("select pg_create_restore_point('before the mistake')");
      await newPrimary.query("truncate pgbench_history");
      archived = await archiveAndNote(newPrimary);
      const recovered = await scene().restored(oldBackup, {
        name: "recovered",
        server: daemon.url,
        settings: {
          archive_mode: "off",
          recovery_target_name: "before the mistake",
          recovery_target_action: "promote",
        },
      });
      await recovered.becomeRecovery();
      await recovered.start();
      const { kind } = await recovered.recoveryEnd();

      expect(kind).toBe("open");
      expect(await recovered.value(CONTENT)).toBe(wanted);
      expect(await recovered.value(TIMELINE)).toBe("00000003");
      await recovered.stop();
    });

    test("the old primary, gone its own way, is rewound with WAL from the archive", async () => {
      await oldPrimary.start();
      const [, switchLsn] = (await scene().fetch("00000002.history", daemon.url))
        .toString()
        .split("\t");
      const lastCommon = await oldPrimary.value("select pg_walfile_name($1::pg_lsn - 1)", [
        switchLsn,
      ]);
      await oldPrimary.eventually("it has recycled its WAL from before the fork", async () => {
        await oldPrimary.query("update pgbench_accounts set abalance = abalance + 1 where aid = 1");
        await oldPrimary.archiveEverything();
        await oldPrimary.query("checkpoint");
        return !walFiles(oldPrimary).includes(lastCommon);
      });
      await oldPrimary.stop();
      // pg_rewind reads the new timeline from the control file, which the next checkpoint writes.
      await newPrimary.query("checkpoint");
      const rewound = await oldPrimary.rewindTo(newPrimary);

      expect(rewound).toMatchObject({ status: 0, stderr: expect.stringContaining("Done!") });
      const foreign = walFiles(oldPrimary).filter(
        (name) =>
          !/^[0-9A-F]{8}(\.history|[0-9A-F]{16}(\.partial|\.[0-9A-F]{8}\.backup)?)$/.test(name),
      );
      expect(foreign).toEqual(["archive_status"]);
    });

    test("and then follows the new primary from the archive", async () => {
      await newPrimary.pgbench(...LOAD, "--time=1");
      archived = await archiveAndNote(newPrimary);
      await oldPrimary.configure({}); // the rewind brought the socket of the new primary along
      await oldPrimary.becomeStandby();
      await oldPrimary.start();
      await oldPrimary.replayed(archived.end);

      expect(await oldPrimary.value(CONTENT)).toBe(archived.content);
    });

    test("in the end both timelines are whole, every file as PostgreSQL archived it", async () => {
      // The new primary may be archiving what its own upkeep writes, several files side by side.
      const status = await newPrimary.eventually("no gap is under way", async () => {
        const now = await scene().walarcJson<Status>(["status", "--json"], daemon.url);
        return now.timelines.every(({ gaps }) => gaps.length === 0) && now;
      });

      expect(status.segmentSizeBytes).toBe(segmentSizeMb * 1024 * 1024);
      expect(
        status.timelines.map(({ timeline, parent, ranges, gaps }) => ({
          timeline,
          parent,
          ranges: ranges.length,
          gaps,
        })),
      ).toEqual([
        { timeline: 1, parent: null, ranges: 1, gaps: [] },
        { timeline: 2, parent: 1, ranges: 1, gaps: [] },
      ]);
      const files = await scene().archivedBy(oldPrimary, newPrimary);
      await expectListed(files);
      await expectArchived(sinceBackup(files), daemon);
    });

    /** `walarc ls` names what was archived, and nothing else. */
    async function expectListed(files: ReadonlyMap<string, Buffer>): Promise<void> {
      const page = await scene().walarcJson<Page>(["ls", "--json"], daemon.url);
      const listed = page.files.map((file) => file.name);
      expect(listed).toEqual(expect.arrayContaining([...sinceBackup(files).keys()]));
      expect(listed.filter((name) => !files.has(name))).toEqual([]);
    }
  };
  describeScene(title, body, { needs });
});

async function archiveAndNote(primary: PostgresCluster): Promise<{ content: string; end: string }> {
  const content = await primary.value(CONTENT);
  return { content, end: await primary.archiveEverything() };
}

function walFiles(server: PostgresCluster): string[] {
  return readdirSync(server.walDirectory).sort();
}
