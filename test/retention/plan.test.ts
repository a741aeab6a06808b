import * as fc from "fast-check";
import { expect, test } from "vitest";
import { claimsOf } from "../../src/retention/claims.ts";
import { requireWalName } from "../../src/wal/name.ts";
import {
  planRetention,
  planUpTo,
  removableBytes,
  removableFiles,
  removableNames,
  type RetentionPlan,
} from "../../src/wal/retention.ts";
import { removableIn } from "./oracle.ts";
import { claimantsIn, timeWorlds, type World, worlds } from "./worlds.ts";

const RUNS = { numRuns: 10_000 };

function planIn(world: World): RetentionPlan {
  const claimants = claimantsIn(world);
  return planRetention(claimants.catalog, claimsOf(claimants));
}

function namesIn(plan: RetentionPlan): string[] {
  return [...removableNames(plan)].map(({ text }) => text);
}

test("in 10,000 random worlds exactly what a naive oracle allows is removed", () => {
  let worldsWithRemoval = 0;
  fc.assert(
    fc.property(worlds, (world) => {
      const plan = planIn(world);
      const removed = namesIn(plan);
      expect([...removed].sort()).toEqual(removableIn(world));
      expect(removed).toHaveLength(removableFiles(plan));
      const sized = removed.filter((name) => !name.endsWith(".backup")).length;
      expect(removableBytes(plan)).toBe(sized * world.segmentSizeBytes);
      if (removed.length > 0) worldsWithRemoval += 1;
    }),
    RUNS,
  );
  // Or the worlds would be too harmless to prove anything.
  expect(worldsWithRemoval).toBeGreaterThan(RUNS.numRuns / 5);
});

test("a window of time keeps what arrived in it, and little more", () => {
  let worldsWithRemoval = 0;
  fc.assert(
    fc.property(timeWorlds, (world) => {
      const keepForMs = world.policy.keepForMs ?? 0;
      const generous = { ...world.policy, keepForMs: keepForMs * 1.05 };
      const removed = namesIn(planIn(world)).sort();
      expect(removableIn(world)).toEqual(expect.arrayContaining(removed));
      expect(removed).toEqual(expect.arrayContaining(removableIn({ ...world, policy: generous })));
      if (removed.length > 0) worldsWithRemoval += 1;
    }),
    { numRuns: 2000 },
  );
  expect(worldsWithRemoval).toBeGreaterThan(500);
});

test("names come oldest first, each once, and from any of them on the rest is a plan", () => {
  fc.assert(
    fc.property(worlds, fc.nat(), (world, pick) => {
      const plan = planIn(world);
      const names = namesIn(plan);
      const order = names.map((name) => name.slice(8, 24));
      expect(order).toEqual([...order].sort());
      expect(new Set(names).size).toBe(names.length);

      const end = names[pick % Math.max(1, names.length)];
      if (end === undefined) return;
      const before = namesIn(planUpTo(plan, requireWalName(end) as never));
      expect(before).toEqual(names.filter((name) => name.slice(8, 24) < end.slice(8, 24)));
    }),
    { numRuns: 2000 },
  );
});

test("once a plan was carried out the next one is empty, with the same horizon or in doubt", () => {
  fc.assert(
    fc.property(worlds, (world) => {
      const claimants = claimantsIn(world);
      const plan = () => planRetention(claimants.catalog, claimsOf(claimants));
      const first = plan();
      for (const name of removableNames(first)) claimants.catalog.remove(name);
      const second = plan();
      expect(namesIn(second)).toEqual([]);
      // In doubt when the last file of a claim's timeline went: then nothing is removed at all.
      const isDoubtful = second.heldBy.some(({ doubt }) => doubt !== undefined);
      if (!isDoubtful) expect(second.horizon?.position).toBe(first.horizon?.position);
    }),
    { numRuns: 2000 },
  );
});
