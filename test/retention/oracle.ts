import { nameOf, type World } from "./worlds.ts";

/**
 * What may be removed, decided the slow and obvious way: every name against every claim, by
 * comparing strings as pg_archivecleanup does. Shares no line with the product.
 */
export function removableIn(world: World): string[] {
  const needed = neededFrom(world);
  if (needed === "everything" || needed.length === 0) return [];
  const isFree = (name: string) => needed.every((from) => name.slice(8, 24) < from.slice(8, 24));
  return world.names.filter((name) => !name.endsWith(".history") && isFree(name)).sort();
}

function neededFrom(world: World): string[] | "everything" {
  const from: string[] = [];
  const ending: string[] = [];
  const { standbys, holds, configured, policy, now } = world;

  if (configured.some((name) => !standbys.some((standby) => standby.name === name))) {
    return "everything";
  }
  for (const { state, restartPoint, heardMs } of standbys) {
    if (state === "damaged") return "everything";
    if (state === "primary") continue;
    const isStale =
      now.servedMs - heardMs >= policy.staleAfterMs && now.sinceStartMs >= policy.staleAfterMs;
    if (isStale && policy.stalePolicy === "release") continue;
    from.push(restartPoint);
  }

  for (const { from: start, end, putMs, isDamaged } of holds) {
    if (isDamaged) return "everything";
    const isPast = end !== undefined && now.wallMs >= end.untilMs;
    const isServed = end !== undefined && now.servedMs >= putMs + end.lastsMs;
    if (isPast && isServed) continue;
    (isPast || isServed ? ending : from).push(start);
  }

  const backups = world.names.filter((name) => name.endsWith(".backup"));
  backups.sort((a, b) => (a.slice(8) > b.slice(8) ? -1 : 1));
  from.push(...backups.slice(0, policy.keepBackups));

  const segments = world.names.filter((name) => name.length === 24);
  segments.sort((a, b) => (a.slice(8) > b.slice(8) ? -1 : 1));
  if (policy.keepBytes !== undefined) {
    if (segments.length === 0) return "everything";
    let bytes = 0;
    const last = segments.find((_segment) => {
      bytes += world.segmentSizeBytes;
      return bytes >= (policy.keepBytes ?? 0);
    });
    from.push(last ?? segments.at(-1)!);
  }
  if (policy.keepForMs !== undefined) {
    const within = withinTime(world, policy.keepForMs);
    from.push(...within.map((number) => nameOf(1, number, world.segmentSizeBytes)));
  }
  if (![...from, ...ending].every((name) => isTimelineKnown(world, name))) return "everything";
  // What may be over keeps, but is alone no reason to remove. The newest segment always stays.
  return from.length === 0 ? [] : [...from, ...ending, ...segments.slice(0, 1)];
}

/** Numbers of the segments that arrived no more than so long before the newest one did. */
function withinTime({ arrivals }: World, keepForMs: number): number[] {
  const highest = Math.max(...arrivals.map(({ number }) => number));
  const newest = arrivals.find(({ number }) => number === highest);
  return arrivals
    .filter(({ atMs }) => atMs >= (newest?.atMs ?? 0) - keepForMs)
    .map(({ number }) => number);
}

function isTimelineKnown({ names, histories }: World, name: string): boolean {
  const digits = name.slice(0, 8);
  const timeline = Number.parseInt(digits, 16);
  return (
    names.some((other) => other.startsWith(digits)) ||
    histories.some(({ parents }) => parents.some((parent) => parent.timeline === timeline))
  );
}
