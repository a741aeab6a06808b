import type { ClusterStatus } from "../archive/status.ts";
import { formatAge, formatCount } from "./columns.ts";

type Spool = NonNullable<ClusterStatus["spools"]>[number];

/** How many names of each kind are worth a line. */
const NAMES_MAX = 5;

/** The spools that feed a cluster, for people; what needs attention stands in capitals. */
export function spoolFacts({ spools = [] }: ClusterStatus, now: Date): [string, string][] {
  return spools.flatMap((spool) => {
    return linesOf(spool, now).map((line, at): [string, string] => [at === 0 ? "spool" : "", line]);
  });
}

function linesOf(spool: Spool, now: Date): string[] {
  const { path, files, oldestAgeSeconds, waitingSince, problem } = spool;
  const age = files === 0 ? "" : `, the oldest for ${formatAge(oldestAgeSeconds * 1000)}`;
  const waited = waitingSince === null ? 0 : now.getTime() - Date.parse(waitingSince);
  return [
    `${path}, ${formatCount(files, "file")} waiting${age}`,
    ...(waitingSince === null ? [] : [`ARCHIVE TAKES NOTHING for ${formatAge(waited)}`]),
    ...(problem === null ? [] : [`NOT DRAINED: ${problem}`]),
    ...shortened(spool.incomplete, ({ name, why }) => `INCOMPLETE ${name}: ${why}`),
    ...shortened(spool.abandoned, (name) => `abandoned temporary file ${name}`),
    ...(spool.rejected === 0 ? [] : [`${spool.rejected} in rejected/: LOOK AT THEM`]),
    ...shortened(spool.lastRejected, ({ name, as, reason, why }) => {
      const where = as === null ? "left where it is" : `now rejected/${as}`;
      return `rejected ${name} (${reason}): ${why}; ${where}`;
    }),
  ];
}

function shortened<T>(list: readonly T[], format: (one: T) => string): string[] {
  const lines = list.slice(0, NAMES_MAX).map(format);
  const more = list.length - lines.length;
  return more <= 0 ? lines : [...lines, `and ${more} more`];
}
