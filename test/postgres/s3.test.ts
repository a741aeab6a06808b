import { setTimeout as delay } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { expectArchived, sinceBackup } from "../support/archived.ts";
import { Balancer } from "../support/balancer.ts";
import type { Bucket } from "../support/bucket.ts";
import type { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import { archivedNames } from "../support/ledger.ts";
import type { PostgresCluster } from "../support/postgres.ts";
import type { Rgw } from "../support/rgw.ts";
import { describeScene } from "../support/scene.ts";

const needs = ["rgw"] as const;
const LOAD = ["--no-vacuum", "--client=4"];
const END_LOAD = `select pg_terminate_backend(pid) from pg_stat_activity
  where application_name = 'pgbench'`;
const HISTORY = "select count(*) || ' rows, ' || coalesce(sum(delta), 0) from pgbench_history";

/** What a standby may say about an archive that is not always there: it asks again by itself. */
const RETRIES = /^(walarc: fetch .*: (unreachable|store-failed)|hint: )/;
/** PostgreSQL's own words for anything that is not as it should be. */
const TROUBLE = /(WARNING|ERROR|FATAL|PANIC): |^walarc: /;
/** What clients are told that come too early, as these tests do. */
const TOO_EARLY = /FATAL: +the database system is (starting up|not yet accepting connections)/;

describeScene(
  "two daemons behind one address, on one bucket",
  (scene) => {
    let bucket: Bucket;
    let daemons: readonly [WalarcDaemon, WalarcDaemon];
    let balancer: Balancer;
    let primary: PostgresCluster;
    let standby: PostgresCluster;

    beforeAll(async () => {
      bucket = await (await scene().rgw()).bucket();
      daemons = [
        await scene().daemon({ name: "left", bucket }),
        await scene().daemon({ name: "right", bucket }),
      ];
      const sockets = daemons.map(({ socketPath }) => socketPath);
      balancer = await Balancer.start(scene().workspace, sockets);
      primary = await scene().primary({ name: "primary", server: balancer.url });
      const backup = await primary.baseBackup(scene().workspace.path("backup"), "none");
      standby = await scene().standby(backup, { name: "standby", server: balancer.url });
      return async () => {
        await balancer[Symbol.asyncDispose]();
        bucket[Symbol.dispose]();
      };
    });

    test("killed in turn under load, they lose nothing and double nothing", async () => {
      await primary.pgbench("--initialize", "--scale=1", "--quiet");
      const load = primary.pgbench(...LOAD, "--time=600").catch(() => "cut off");
      for (const daemon of [...daemons, ...daemons]) {
        await delay(500 + Math.random() * 500);
        await daemon.kill();
        await archivesMore();
        await daemon.start();
      }
      await primary.query(END_LOAD);
      await load;
      const content = await primary.value(HISTORY);
      await standby.replayed(await primary.archiveEverything());
      expect(await standby.value(HISTORY)).toBe(content);

      expect(Math.min(...balancer.taken)).toBeGreaterThan(5);
      const files = sinceBackup(await scene().archivedBy(primary));
      for (const daemon of daemons) await expectArchived(files, daemon);
    });

    test("the standby never noticed", async () => {
      const lines = standby.log().split("\n");
      const trouble = lines.filter((line) => TROUBLE.test(line) && !TOO_EARLY.test(line));
      expect(trouble.filter((line) => !RETRIES.test(line))).toEqual([]);
    });

    test("the bucket holds one object of each file, and nothing else of WAL", async () => {
      const files = await scene().archivedBy(primary);
      const keys = [...(await bucket.objects()).keys()];
      const names = keys.filter((key) => key.includes("/wal/")).map((key) => key.split("/").at(-1));
      expect(names.filter((name) => !files.has(name ?? ""))).toEqual([]);
      expect(names).toEqual(expect.arrayContaining([...sinceBackup(files).keys()]));
      expect(keys.filter((key) => /\/(conflicts|damaged|tmp)\//.test(key))).toEqual([]);
    });

    test("both daemons come to list the same", async () => {
      const files = [...sinceBackup(await scene().archivedBy(primary)).keys()].sort();
      for (const daemon of daemons) {
        await eventually("it lists what the other one archived", async () => {
          const listed = await archivedNames(daemon);
          return files.every((name) => listed.includes(name));
        });
      }
    });

    /** Resolves when PostgreSQL has archived something since now. */
    async function archivesMore(): Promise<void> {
      const counted = (): Promise<string> => {
        return primary.value("select archived_count from pg_stat_archiver");
      };
      const before = Number(await counted());
      const more = async (): Promise<boolean> => Number(await counted()) > before + 2;
      await primary.eventually("it archives through the other daemon", more);
    }
  },
  { needs },
);

/** How a bucket can be away, and come back. */
const OUTAGES = [
  {
    title: "refuses connections",
    begin: (rgw: Rgw) => rgw.stopGateway(),
    end: (rgw: Rgw) => rgw.startGateway(),
  },
  {
    title: "does not answer",
    begin: async (rgw: Rgw) => rgw.freezeGateway(),
    end: async (rgw: Rgw) => rgw.thawGateway(),
  },
];

describe.each(OUTAGES)("a bucket that $title", ({ begin, end }) => {
  describeScene(
    "for a while",
    (scene) => {
      const timeoutSeconds = 20;
      let rgw: Rgw;
      let daemon: WalarcDaemon;
      let primary: PostgresCluster;
      let standby: PostgresCluster;

      beforeAll(async () => {
        rgw = await scene().rgw();
        using bucket = await rgw.bucket();
        daemon = await scene().daemon({ bucket, moreStore: 'request_timeout = "1s"\n' });
        const server = { server: daemon.url, timeoutSeconds };
        primary = await scene().primary({ name: "primary", ...server });
        const backup = await primary.baseBackup(scene().workspace.path("backup"), "none");
        standby = await scene().standby(backup, { name: "standby", ...server });
        await primary.pgbench("--initialize", "--scale=1", "--quiet");
        await primary.archiveEverything();
      });

      test("fails pushes with status 7 within their deadline, and PostgreSQL keeps its WAL", async () => {
        await begin(rgw);
        const [pushed] = [...(await scene().archivedBy(primary)).keys()].reverse();
        await primary.pgbench(...LOAD, "--time=1");
        await primary.switchWal();

        const lost = await primary.eventually("its archiver fails", async () => {
          const [row] = await primary.query(
            "select * from pg_stat_archiver where failed_count > 0",
          );
          return row?.["last_failed_wal"] as string | undefined;
        });
        expect(lost > String(pushed)).toBe(true);
        expect(primary.log()).toContain(`walarc: push ${lost}: store-failed: `);
        expect(primary.log()).toMatch(/archive command failed with exit code 7/);
        expect(primary.log()).not.toMatch(/archive command failed with exit code (?!7)/);
        expect(primary.waitingForArchiver()).toContain(lost);
      });

      test("makes the daemon unready, not unhealthy", async () => {
        await eventually(
          "/readyz is red",
          async () => (await daemon.get("/readyz")).status === 503,
        );
        expect((await daemon.get("/healthz")).status).toBe(200);
        expect((await daemon.get("/metrics")).status).toBe(200);
      });

      test("comes back, and everything catches up by itself", async () => {
        await end(rgw);
        await eventually("/readyz is green", async () => {
          return (await daemon.get("/readyz")).status === 200;
        });
        const content = await primary.value(HISTORY);
        await standby.replayed(await primary.archiveEverything());
        expect(await standby.value(HISTORY)).toBe(content);
        const files = await scene().archivedBy(primary);
        await expectArchived(sinceBackup(files), daemon);
        const ends = standby
          .log()
          .split("\n")
          .filter((line) => /(FATAL|PANIC): /.test(line));
        expect(ends.filter((line) => !TOO_EARLY.test(line))).toEqual([]);
      });
    },
    { needs },
  );
});
