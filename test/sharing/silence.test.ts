import { describe, expect, test } from "vitest";
import { ServiceTime } from "../../src/retention/service-time.ts";
import { Retention } from "../../src/retention/retention.ts";
import { standbysOf } from "../../src/retention/claims.ts";
import { DEFAULT_POLICY, type RetentionPolicy } from "../../src/retention/policy.ts";
import type { ReportSource } from "../../src/retention/standby.ts";
import type { Store } from "../../src/store/store.ts";
import { Catalog } from "../../src/wal/catalog.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { removableNames } from "../../src/wal/retention.ts";
import { pino } from "pino";
import { SharedView } from "../support/shared-store.ts";
import { MIB } from "../support/wal-maker.ts";
import { segmentText } from "../retention/stage.ts";
import { openStore, signal } from "./daemons.ts";

const HOUR_MS = 3_600_000;

describe("a standby that reports to another daemon", () => {
  const policy = { staleAfterMs: HOUR_MS, stalePolicy: "release" } as const;

  test("is not stale here, nor released, however far apart the daemons have counted", async () => {
    const store = await openStore();
    const a = await Counting.start(store, { policy, to: 10 });
    const b = await Counting.start(store, { policy, to: 10 });
    await a.report("s1", 5);
    // B sleeps: it counts nothing, and learns nothing, while A goes on.
    a.pass(5 * HOUR_MS);
    await b.report("s1", 6);
    expect(await a.removable()).toBe(5);
    expect(await a.stale()).toEqual([]);
    a.pass(HOUR_MS / 2);
    expect(await a.stale()).toEqual([]);
    a.pass(HOUR_MS / 2);
    expect(await a.stale()).toEqual(["s1"]);
  });

  test("is not released by a daemon that has just started, whatever is written down", async () => {
    const store = await openStore();
    const b = await Counting.start(store, { policy, to: 10 });
    await b.report("s1", 5);
    b.pass(5 * HOUR_MS);
    await b.retention.register.save({ signal, atOnce: true });
    const a = await Counting.start(store, { policy, to: 10 });
    await a.report("s2", 8);
    expect(await a.stale()).toEqual(["s1"]);
    expect(await a.removable()).toBe(4);
    a.pass(HOUR_MS / 2);
    await a.report("s2", 8);
    a.pass(HOUR_MS / 2);
    expect(await a.removable()).toBe(7);
  });
});

describe("a window of time", () => {
  const policy = { keepForMs: HOUR_MS };

  test("covers what another daemon archived, also late and out of order", async () => {
    const store = await openStore();
    const a = await Counting.start(store, { policy, to: 10 });
    a.pass(2 * HOUR_MS);
    await a.save();
    a.learn(20, 22);
    expect(await a.removable()).toBe(10);
    a.learn(3, 3);
    expect(await a.removable()).toBe(2);
  });

  test("is not shortened by a daemon that writes down less than another", async () => {
    const store = await openStore();
    const a = await Counting.start(store, { policy, to: 10 });
    const b = await Counting.start(store, { policy, to: 10 });
    for (const daemon of [a, b]) daemon.pass(2 * HOUR_MS);
    // A has archived an old segment, of which B has not heard yet; both write and die.
    a.archive(4);
    a.archive(20);
    await a.save();
    b.archive(21);
    await b.save();
    const c = await Counting.start(store, { policy, to: 10, more: [20, 21] });
    expect(await c.removable()).toBe(3);
    // And C has taken over what they knew: nobody has to read it once more.
    await c.save();
    const left = await Array.fromAsync(store.list("clusters/main/service/", { signal }));
    expect(left).toHaveLength(1);
    c.pass(2 * HOUR_MS);
    c.archive(40);
    expect(await c.removable()).toBe(21);
  });

  test("is not shortened by a daemon that has counted more", async () => {
    const store = await openStore();
    const a = await Counting.start(store, { policy, to: 10 });
    const b = await Counting.start(store, { policy, to: 10 });
    a.pass(5 * HOUR_MS);
    b.pass(HOUR_MS / 2);
    b.archive(11);
    await b.save();
    await a.save();
    const c = await Counting.start(store, { policy, to: 11 });
    c.archive(12);
    // For all that C knows, B may have seen the first ones arrive a while ago: it waits.
    expect(await c.removable()).toBe(0);
    c.pass(HOUR_MS);
    c.archive(13);
    expect(await c.removable()).toBe(10);
  });
});

test("a hold does not end earlier because another daemon counts ahead", async () => {
  const store = await openStore();
  const a = await Counting.start(store, { to: 10 });
  const b = await Counting.start(store, { to: 10 });
  a.pass(100 * HOUR_MS);
  await a.save();
  const until = new Date(Date.now() + 2 * HOUR_MS);
  await b.retention.register.putHold("h", {
    from: requireWalName(segmentText(3)).text,
    until,
    signal,
  });
  const { register } = a.retention;
  await register.relearn({ signal });
  const hold = register.known?.holds.get("h");
  if (hold === undefined || hold === "damaged") throw new Error("no hold");
  expect((register.known?.now.servedMs ?? 0) - hold.putMs).toBeLessThan(HOUR_MS);
});

/** Retention alone, over names, with a clock that stands still until it is moved. */
class Counting {
  readonly catalog = new Catalog();
  retention!: Retention;
  #clockMs = 0;

  static async start(
    inner: Store,
    options: { policy?: Partial<RetentionPolicy>; to: number; more?: readonly number[] },
  ): Promise<Counting> {
    const counting = new Counting();
    const { catalog } = counting;
    catalog.bindSegmentSize(MIB);
    for (let number = 1; number <= options.to; number += 1) counting.#hold(number);
    for (const number of options.more ?? []) counting.#hold(number);
    const owner = {
      name: "main",
      store: new SharedView(inner),
      catalog,
      log: pino({ level: "silent" }),
      relearn: async () => {},
      relearnEnds: async () => {},
      discard: async () => {},
    };
    counting.retention = new Retention(owner, {
      policy: { ...DEFAULT_POLICY, keepBackups: 0, ...options.policy },
      standbys: new Map<string, ReportSource>(),
      daemon: `d-${Math.trunc(performance.now() * 1e6)}`,
      time: new ServiceTime(() => counting.#clockMs),
    });
    await counting.retention.register.load({ signal });
    return counting;
  }

  pass(ms: number): void {
    for (let left = ms; left > 0; left -= 1000) {
      this.#clockMs += Math.min(left, 1000);
      this.retention.register.tick();
    }
  }

  archive(number: number): void {
    this.#hold(number);
    this.retention.register.arrived(number);
  }

  learn(first: number, last: number): void {
    for (let number = first; number <= last; number += 1) this.#hold(number);
    this.retention.register.arrivedElsewhere(first, last);
  }

  async report(standby: string, number: number): Promise<void> {
    const told = { source: "report", signal } as const;
    await this.retention.register.report(standby, segmentText(number), told);
  }

  async save(): Promise<void> {
    await this.retention.register.save({ signal, atOnce: true });
  }

  async stale(): Promise<string[]> {
    return this.retention.register.decide(
      (claimants) =>
        standbysOf(claimants)
          .filter(({ stale }) => stale)
          .map(({ name }) => name),
      { signal },
    );
  }

  /** The highest number that a prune would remove now, 0 for none. */
  async removable(): Promise<number> {
    const names = [...removableNames(await this.retention.plan({ signal }))];
    return Number.parseInt(names.at(-1)?.text.slice(16) ?? "0", 16);
  }

  #hold(number: number): void {
    this.catalog.add(requireWalName(segmentText(number)));
  }
}
