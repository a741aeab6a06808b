import * as fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { LightArchive, type LightOptions } from "./light-archive.ts";

const YEAR_MS = 365 * 86_400_000;
const START = Date.parse("2026-11-21T12:00:00Z");

// The time of day alone: everything else goes on.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: START });
});
afterEach(() => {
  vi.useRealTimers();
});

type Event =
  | { readonly kind: "add" | "restart" | "kill" }
  | { readonly kind: "pass"; readonly ms: number }
  | { readonly kind: "report"; readonly standby: string; readonly behind: number }
  | { readonly kind: "hold"; readonly name: string; readonly behind: number; readonly ms: number }
  | { readonly kind: "jump"; readonly years: number };

const events: fc.Arbitrary<Event> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("add" as const) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("pass" as const),
      ms: fc.integer({ min: 1, max: 30_000 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("report" as const),
      standby: fc.constantFrom("a", "b"),
      behind: fc.nat(9),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("hold" as const),
      name: fc.constantFrom("h", "i"),
      behind: fc.nat(9),
      ms: fc.integer({ min: 1, max: 50_000 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("jump" as const), years: years() }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constantFrom("restart" as const, "kill" as const) }),
  },
);

function years(): fc.Arbitrary<number> {
  return fc.constantFrom(-10, -1, 1 / 365, 1, 10);
}

/** After each event: what could be removed. `jumps` are made or left out. */
async function live(
  story: readonly Event[],
  options: LightOptions & { jumps: "made" | "left out" },
): Promise<number[]> {
  vi.setSystemTime(START);
  const archive = await LightArchive.open(options);
  const removable: number[] = [];
  let newest = 0;
  for (const event of story) {
    const at = (behind: number) => Math.max(1, newest - behind);
    if (event.kind === "add") archive.add((newest += 1));
    else if (event.kind === "pass") {
      archive.pass(event.ms);
      vi.setSystemTime(Date.now() + event.ms);
    } else if (event.kind === "jump") {
      if (options.jumps === "made") vi.setSystemTime(Date.now() + event.years * YEAR_MS);
    } else if (event.kind === "report") {
      if (newest > 0) await archive.report(event.standby, at(event.behind));
    } else if (event.kind === "hold") {
      await archive.hold(event.name, at(event.behind), new Date(Date.now() + event.ms));
    } else {
      await archive.stop(event.kind === "kill" ? "kill" : "clean");
      archive.clockMs = Math.abs(archive.clockMs * 7919) % 1e9;
      await archive.start(options);
    }
    removable.push(await archive.removableTo());
  }
  await archive.stop();
  return removable;
}

test("jumps of the clock never make more removable, at any moment of 300 random lives", async () => {
  let removals = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(events, { minLength: 20, maxLength: 70 }),
      fc.record({
        keepForMs: fc.option(fc.integer({ min: 1, max: 60_000 }), { nil: undefined }),
        staleAfterMs: fc.integer({ min: 1, max: 60_000 }),
        stalePolicy: fc.constantFrom("hold" as const, "release" as const),
      }),
      async (story, policy) => {
        const right = await live(story, { policy, jumps: "left out" });
        const jumped = await live(story, { policy, jumps: "made" });
        for (const [index, number] of jumped.entries()) {
          expect(number, `after ${index + 1} events`).toBeLessThanOrEqual(right[index]!);
        }
        if (jumped.some((number) => number > 0)) removals += 1;
      },
    ),
    { numRuns: 300 },
  );
  expect(removals).toBeGreaterThan(60);
});
