import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { TimelineStatus } from "../../src/wal/timeline-status.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { catalogOf, MIB, segment, type Switch } from "./catalog-maker.ts";

/* The catalog against its rules, written out plainly over a set of names. */

const LAST = 14;
const number = fc.integer({ min: 1, max: LAST });
const held = fc.record({ timeline: fc.integer({ min: 1, max: 4 }), number });
const step = fc.record({ isAdded: fc.oneof(fc.constant(true), fc.boolean()), name: held });
const parent = fc.tuple(fc.integer({ min: 1, max: 4 }), number, fc.constantFrom(0, 1, MIB - 1));
const history = fc
  .uniqueArray(parent, { minLength: 1, maxLength: 3, selector: ([timeline]) => timeline })
  .map((parents) => parents.sort(([a], [b]) => a - b))
  .chain((parents) => {
    const own = fc.integer({ min: (parents.at(-1)?.[0] ?? 0) + 1, max: 6 });
    return own.map((timeline): Switch => [timeline, ...parents]);
  });
const histories = fc.uniqueArray(history, { maxLength: 4, selector: ([timeline]) => timeline });

test("holds, missing and timelines agree with a set of names", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), histories, (steps, histories) => {
      const catalog = catalogOf({}, ...histories);
      const model = new Set<string>();
      for (const { isAdded, name } of steps) {
        const { text } = segment(name.timeline, name.number);
        if (isAdded) catalog.add(requireWalName(text));
        else catalog.remove(requireWalName(text));
        if (isAdded) model.add(text);
        else model.delete(text);
      }

      expect(catalog.segments).toBe(model.size);
      const latest = [...model].sort((a, b) => (a.slice(8) + a < b.slice(8) + b ? -1 : 1)).at(-1);
      expect(catalog.latest()).toBe(latest);
      const oldest = Math.min(...[...model].map(numberOf));
      const shown = new Map(catalog.timelines().map((status) => [status.timeline, status]));
      for (let timeline = 1; timeline <= 6; timeline += 1) {
        const rule = ruleOf(timeline, { model, histories });
        for (let n = 0; n <= LAST + 2; n += 1) {
          const name = segment(timeline, n);
          expect(catalog.holds(name)).toBe(model.has(name.text));
          if (!model.has(name.text)) expect(catalog.missing(name)).toBe(rule.missing(n));
        }
        const numbers = [...Array(LAST + 2).keys()];
        const start = rule.first === undefined ? rule.held[0] : Math.max(rule.first, oldest);
        const gaps = numbers.filter(
          (n) => !rule.held.includes(n) && n >= (start ?? Infinity) && rule.missing(n) === "gap",
        );
        expect(numbersIn(shown.get(timeline)?.gaps)).toEqual(gaps);
        expect(numbersIn(shown.get(timeline)?.ranges)).toEqual(rule.held);
      }
    }),
    { numRuns: 300 },
  );
});

/** What a timeline holds, where it begins and what it misses. */
function ruleOf(timeline: number, archive: { model: Set<string>; histories: Switch[] }) {
  const held = [...archive.model].filter((text) => Number(`0x${text.slice(0, 8)}`) === timeline);
  const numbers = held.map(numberOf).sort((a, b) => a - b);
  const left: number[] = [];
  const begun: { isOwn: boolean; lsn: number }[] = [];
  for (const [own, ...parents] of archive.histories) {
    for (const [index, [parent, number, offset]] of parents.entries()) {
      if (parent === timeline) left.push(number);
      const child = parents[index + 1]?.[0] ?? own;
      const lsn = number * 16 * MIB + offset;
      if (child === timeline) begun.push({ isOwn: own === timeline, lsn });
    }
  }
  begun.sort((a, b) => Number(b.isOwn) - Number(a.isOwn) || a.lsn - b.lsn);
  const first = begun[0] && Math.floor(begun[0].lsn / (16 * MIB));
  const missing = (n: number) => {
    const goesOn = numbers.some((m) => m > n) || left.some((m) => m > n);
    return goesOn && n >= (first ?? 0) ? "gap" : "absent";
  };
  return { held: numbers, first, missing };
}

/** The segment numbers of ranges or between a gap's neighbours; the counts must agree. */
function numbersIn(
  runs: TimelineStatus["ranges"] | TimelineStatus["gaps"] | undefined = [],
): number[] {
  return runs.flatMap((run) => {
    const isGap = "after" in run;
    const first = isGap ? numberOf(run.after ?? "") + 1 : numberOf(run.first);
    const last = isGap ? numberOf(run.before) - 1 : numberOf(run.last);
    expect(run.segments).toBe(last - first + 1);
    return Array.from({ length: run.segments }, (_, index) => first + index);
  });
}

function numberOf(text: string): number {
  return Number(`0x${text.slice(8, 16)}`) * 256 + Number(`0x${text.slice(16)}`);
}
