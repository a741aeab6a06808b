import type { TimelineHistory, TimelineSwitch } from "./history.ts";

/** What all archived history files say together. */
export interface Lineage {
  /** By timeline: the parent it was made from, and where. */
  readonly origins: ReadonlyMap<number, TimelineSwitch>;
  /** By timeline: the child that left it last. All WAL before that point is known to exist. */
  readonly departures: ReadonlyMap<number, TimelineSwitch>;
}

/**
 * PostgreSQL begins a history file with a copy of the parent's. So a timeline whose own file is not
 * archived is still described by a descendant's; where files contradict each other its own counts,
 * else the lower origin, which makes more WAL count as needed.
 */
export function readLineage(histories: Iterable<TimelineHistory>): Lineage {
  const origins = new Map<number, TimelineSwitch>();
  const departures = new Map<number, TimelineSwitch>();
  const own = new Map<number, TimelineSwitch>();

  for (const { timeline, parents } of histories) {
    for (const [index, parent] of parents.entries()) {
      const child = parents[index + 1]?.timeline ?? timeline;
      keep(departures, parent.timeline, { timeline: child, switchLsn: parent.switchLsn }, isLater);
      if (child === timeline) own.set(child, parent);
      else keep(origins, child, parent, isEarlier);
    }
  }
  for (const [timeline, parent] of own) origins.set(timeline, parent);
  return { origins, departures };
}

function keep(
  map: Map<number, TimelineSwitch>,
  timeline: number,
  candidate: TimelineSwitch,
  isBetter: (candidate: TimelineSwitch, known: TimelineSwitch) => boolean,
): void {
  const known = map.get(timeline);
  if (known === undefined || isBetter(candidate, known)) map.set(timeline, candidate);
}

function isLater(candidate: TimelineSwitch, known: TimelineSwitch): boolean {
  return candidate.switchLsn > known.switchLsn;
}

function isEarlier(candidate: TimelineSwitch, known: TimelineSwitch): boolean {
  return candidate.switchLsn < known.switchLsn;
}
