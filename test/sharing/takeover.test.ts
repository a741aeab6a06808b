import { expect, test } from "vitest";
import { WalarcError } from "../../src/errors.ts";
import { segmentText, segmentTexts } from "../retention/stage.ts";
import { Daemon, fillWithNames, openStore, signal } from "./daemons.ts";

/*
 * A daemon that prunes is killed in front of every single operation on the store, one after the
 * other. Another one makes a claim and takes over.
 */

test("wherever a pruning daemon dies, the next one ends the work and keeps what it promised", async () => {
  let deaths = 0;
  for (let step = 1; ; step += 1) {
    const store = await openStore();
    await fillWithNames(store, segmentTexts(1, 12));
    const a = await Daemon.start(store);
    await using b = await Daemon.start(store, { leaseMs: 30 });
    await a.report("s1", 10);
    await b.retention;
    killAtStep(a, step);
    const removed = await a.prune().catch(() => "died" as const);
    if (removed !== "died") {
      expect(removed).toEqual(segmentTexts(1, 9));
      break;
    }
    deaths += 1;

    const held = await b.hold("h", 4);
    const before = await namesIn(store);
    await b.prune();
    const after = await namesIn(store);
    expect(after.slice(-3)).toEqual(segmentTexts(10, 12));
    // Nothing claimed went after the claim was made, and where something had gone before, or was
    // going, the answer said so.
    const needed = segmentTexts(4, 12);
    expect(after).toEqual(before.filter((name) => needed.includes(name)));
    if (held?.problem === undefined) expect(after).toEqual(needed);

    const { register } = await b.retention;
    await register.removeHold("h", { signal });
    await b.prune();
    expect(await namesIn(store)).toEqual(segmentTexts(10, 12));
    await b.report("s1", 11);
    expect(await b.prune()).toEqual([segmentText(10)]);
    expect((await b.hold("h", 11))?.problem).toBeUndefined();
    const leases = await Array.fromAsync(store.list("clusters/main/lease/", { signal }));
    expect(leases).toHaveLength(1);
  }
  expect(deaths).toBeGreaterThan(25);
}, 60_000);

/** From then on nothing that it does reaches the store. */
function killAtStep(daemon: Daemon, step: number): void {
  let steps = 0;
  daemon.view.before = () => {
    if ((steps += 1) >= step) throw new WalarcError("store-failed", "this daemon is dead");
  };
}

async function namesIn(store: Awaited<ReturnType<typeof openStore>>): Promise<string[]> {
  const listed = await Array.fromAsync(store.list("clusters/main/wal/", { signal }));
  return listed.map(({ key }) => key.slice(key.lastIndexOf("/") + 1));
}
