import * as fc from "fast-check";
import { type Arrivals, NO_ARRIVALS, withArrival } from "../../src/wal/arrivals.ts";
import { Catalog } from "../../src/wal/catalog.ts";
import { requireWalName } from "../../src/wal/name.ts";
import type { Claimants } from "../../src/retention/claims.ts";
import { parseHold } from "../../src/retention/hold.ts";
import { parseStandby } from "../../src/retention/standby.ts";

/*
 * Random archives and claims, as plain facts: what lies in the archive is a list of names, made
 * without src/wal/.
 */

export interface World {
  readonly segmentSizeBytes: number;
  readonly names: readonly string[];
  readonly histories: readonly FakeHistory[];
  readonly arrivals: readonly { number: number; atMs: number }[];
  readonly standbys: readonly FakeStandby[];
  readonly configured: readonly string[];
  readonly holds: readonly FakeHold[];
  readonly policy: Claimants["policy"];
  readonly now: Claimants["now"];
}

interface FakeHistory {
  readonly timeline: number;
  readonly parents: readonly { timeline: number; number: number }[];
}

interface FakeStandby {
  readonly name: string;
  readonly state: "standby" | "primary" | "damaged";
  readonly restartPoint: string;
  readonly heardMs: number;
}

interface FakeHold {
  readonly name: string;
  readonly from: string;
  readonly end: { readonly untilMs: number; readonly lastsMs: number } | undefined;
  readonly putMs: number;
  readonly isDamaged: boolean;
}

const MIB = 1024 * 1024;
/** Where the archive lies in the WAL: across the end of a log, at which names jump. */
const BASES = [0, 1, 200, 4090, 65_500];

export function nameOf(timeline: number, number: number, segmentSizeBytes: number): string {
  const perLog = 2 ** 32 / segmentSizeBytes;
  return [timeline, Math.floor(number / perLog), number % perLog]
    .map((part) => part.toString(16).toUpperCase().padStart(8, "0"))
    .join("");
}

interface Place {
  readonly timeline: number;
  readonly at: number;
}

const numbers = (max: number) => fc.integer({ min: 0, max });
const places = fc.record({ timeline: fc.integer({ min: 1, max: 5 }), at: numbers(70) });
const strangePlaces = fc.oneof(
  { weight: 19, arbitrary: places },
  {
    weight: 1,
    arbitrary: fc.record({ timeline: fc.integer({ min: 1, max: 9 }), at: numbers(90) }),
  },
);

/** A timeline: where it left which parent, and which stretches of it are archived. */
const timelines = fc.record({
  parent: numbers(4),
  leftAt: numbers(60),
  stretches: fc.array(fc.tuple(numbers(60), numbers(20)), { maxLength: 3 }),
  hasHistory: fc.boolean(),
  partial: fc.option(numbers(60), { freq: 3 }),
});

const policies = fc.record({
  intervalMs: fc.constant(60_000),
  keepBackups: numbers(3),
  keepForMs: fc.constant(undefined),
  keepBytes: fc.option(fc.integer({ min: 1, max: 80 }), { nil: undefined, freq: 2 }),
  staleAfterMs: fc.integer({ min: 1, max: 1000 }),
  stalePolicy: fc.constantFrom("hold" as const, "release" as const),
});

/** Worlds without a window of time; see `timeWorlds`. */
export const worlds: fc.Arbitrary<World> = fc
  .record({
    segmentSizeBytes: fc.constantFrom(MIB, 16 * MIB, 64 * MIB, 1024 * MIB),
    base: fc.constantFrom(...BASES),
    timelines: fc.array(timelines, { minLength: 1, maxLength: 5 }),
    backups: fc.array(fc.tuple(places, fc.constantFrom("00000028", "000000A0")), { maxLength: 4 }),
    standbys: fc.array(
      fc.record({
        name: fc.constantFrom("a", "b", "c", "d"),
        state: fc.constantFrom(..."standby ".repeat(8).trim().split(" "), "primary", "damaged"),
        restartPoint: strangePlaces,
        heardMs: numbers(2000),
      }),
      { maxLength: 4 },
    ),
    configured: fc.oneof(
      { weight: 9, arbitrary: fc.constant<string[]>([]) },
      { weight: 1, arbitrary: fc.subarray(["a", "b", "z"]) },
    ),
    holds: fc.array(
      fc.record({
        name: fc.constantFrom("h", "i", "j"),
        from: strangePlaces,
        end: fc.option(fc.record({ untilMs: numbers(2000), lastsMs: numbers(2000) }), {
          nil: undefined,
        }),
        putMs: numbers(2000),
        isDamaged: numbers(30).map((die) => die === 0),
      }),
      { maxLength: 2 },
    ),
    policy: policies,
    now: fc.record({ wallMs: numbers(2000), servedMs: numbers(3000), sinceStartMs: numbers(3000) }),
  })
  .map((seed) => {
    const name = ({ timeline, at }: Place) => {
      return nameOf(timeline, seed.base + at, seed.segmentSizeBytes);
    };
    const names = new Set<string>();
    const histories: FakeHistory[] = [];
    for (const [index, line] of seed.timelines.entries()) {
      const timeline = index + 1;
      for (const [first, length] of line.stretches) {
        for (let at = first; at < first + length; at += 1) names.add(name({ timeline, at }));
      }
      if (line.partial !== null) names.add(`${name({ timeline, at: line.partial })}.partial`);
      const parent = line.parent % timeline;
      if (!line.hasHistory || parent === 0) continue;
      histories.push({
        timeline,
        parents: [{ timeline: parent, number: seed.base + line.leftAt }],
      });
      names.add(`${name({ timeline, at: 0 }).slice(0, 8)}.history`);
    }
    for (const [place, offset] of seed.backups) names.add(`${name(place)}.${offset}.backup`);
    const { keepBytes } = seed.policy;
    return {
      ...seed,
      names: [...names],
      histories,
      arrivals: [],
      standbys: uniqueByName(seed.standbys).map((standby) => ({
        ...standby,
        state: standby.state as FakeStandby["state"],
        restartPoint: name(standby.restartPoint),
      })),
      holds: uniqueByName(seed.holds).map((hold) => ({ ...hold, from: name(hold.from) })),
      policy: {
        ...seed.policy,
        // Often not a whole number of segments.
        keepBytes: keepBytes && Math.ceil((keepBytes * seed.segmentSizeBytes) / 3),
      },
    };
  });

/** Worlds in which everything is archived in order, over a while, and a window of time is kept. */
export const timeWorlds: fc.Arbitrary<World> = fc
  .record({
    world: worlds,
    keepForMs: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 100_000 })),
    pauses: fc.array(fc.oneof(numbers(3), numbers(500), numbers(20_000)), {
      minLength: 1,
      maxLength: 120,
    }),
    late: fc.array(fc.tuple(numbers(120), numbers(120)), { maxLength: 3 }),
  })
  .map(({ world, keepForMs, pauses, late }) => {
    let atMs = 0;
    const inOrder = pauses.map((pause, index) => ({ number: 100 + index, atMs: (atMs += pause) }));
    // Some came later than those after them.
    for (const [which, after] of late) {
      const [early, then] = [inOrder[which], inOrder[after]];
      if (early !== undefined && then !== undefined && after > which) early.atMs = then.atMs;
    }
    const names = inOrder.map(({ number }) => nameOf(1, number, world.segmentSizeBytes));
    const { standbys, configured, holds, ...rest } = world;
    return {
      ...rest,
      names,
      histories: [],
      arrivals: inOrder.sort((a, b) => a.atMs - b.atMs),
      standbys: standbys.slice(0, 0),
      configured: configured.slice(0, 0),
      holds: holds.slice(0, 0),
      policy: { ...world.policy, keepForMs, keepBytes: undefined },
    };
  });

/** What the product knows of the world. */
export function claimantsIn(world: World): Claimants {
  const catalog = new Catalog();
  catalog.bindSegmentSize(world.segmentSizeBytes);
  for (const name of world.names) catalog.add(requireWalName(name));
  for (const { timeline, parents } of world.histories) {
    catalog.addHistory({
      timeline,
      parents: parents.map(({ timeline, number }) => ({
        timeline,
        switchLsn: BigInt(number) * BigInt(world.segmentSizeBytes) + 1n,
      })),
    });
  }
  let arrivals: Arrivals = NO_ARRIVALS;
  for (const { number, atMs } of world.arrivals) arrivals = withArrival(arrivals, number, atMs);
  return {
    catalog,
    policy: world.policy,
    arrivals,
    configured: new Map(world.configured.map((name) => [name, "report"])),
    troubled: new Set(),
    listening: { silentMs: () => ({ silentMs: world.now.sinceStartMs, isSinceNews: false }) },
    removingUpTo: undefined,
    now: world.now,
    standbys: new Map(world.standbys.map((standby) => [standby.name, recordOf(standby)])),
    holds: new Map(world.holds.map((hold) => [hold.name, holdOf(hold)])),
  };
}

/** Through the form they have in the store. */
function recordOf({ state, restartPoint, heardMs }: FakeStandby) {
  const isPrimary = state === "primary";
  const reportedAt = "2026-01-01T00:00:00.000Z";
  const record = parseStandby({
    restartPoint: isPrimary && heardMs % 2 === 0 ? null : restartPoint,
    role: isPrimary ? "primary" : state === "damaged" ? "king" : "standby",
    source: "report",
    reportedAt,
    heardMs,
  });
  return record ?? "damaged";
}

function holdOf({ from, end, putMs, isDamaged }: FakeHold) {
  const until = end === undefined ? null : new Date(end.untilMs).toISOString();
  const fields = {
    from: isDamaged ? "rubbish" : from,
    until,
    lastsMs: end?.lastsMs ?? null,
    putMs,
  };
  return parseHold(fields) ?? "damaged";
}

function uniqueByName<T extends { readonly name: string }>(items: readonly T[]): T[] {
  return [...new Map(items.map((item) => [item.name, item])).values()];
}
