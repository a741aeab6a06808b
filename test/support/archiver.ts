import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { PostgresCluster } from "./postgres.ts";

/** What a killed or broken archive_command leaves in the log; PostgreSQL does not count those. */
export const ARCHIVER_DIED = /archiver process .* exited|archive command was terminated/;

/** Completes `count` segments, with a few rows each in the table `t`; waits for no archiving. */
export async function fillSegments(primary: PostgresCluster, count: number): Promise<void> {
  await primary.query("create table if not exists t (id int)");
  for (let segment = 0; segment < count; segment++) {
    await primary.query("insert into t select generate_series(1, 100)");
    await primary.switchWal();
  }
}

/** What PostgreSQL counts of its archive_command. */
export async function archiverCounts(
  primary: PostgresCluster,
): Promise<{ archived: number; failed: number }> {
  const [row] = await primary.query("select archived_count, failed_count from pg_stat_archiver");
  return { archived: Number(row?.["archived_count"]), failed: Number(row?.["failed_count"]) };
}

/** What the server holds for archived and has not yet removed, as it is in its own `pg_wal`. */
export function acknowledgedBy(server: PostgresCluster): Map<string, Buffer> {
  const status = readdirSync(join(server.walDirectory, "archive_status"));
  const names = status.filter((name) => name.endsWith(".done")).map((name) => name.slice(0, -5));
  return new Map(names.map((name) => [name, readFileSync(join(server.walDirectory, name))]));
}
