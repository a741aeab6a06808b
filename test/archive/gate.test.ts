import { expect, test } from "vitest";
import { Gate } from "../../src/archive/gate.ts";

const { signal } = new AbortController();

test("by turns the first and the last of those who wait are let in, and none is forgotten", async () => {
  const gate = new Gate(1);
  const order: number[] = [];
  const held = await gate.enter({ signal });
  const waiting = [1, 2, 3, 4, 5].map(async (number) => {
    using _place = await gate.enter({ signal });
    order.push(number);
  });
  held[Symbol.dispose]();
  await Promise.all(waiting);
  expect(order).toEqual([1, 5, 2, 4, 3]);
});

test("who leaves the queue takes no place, and a place is given back once", async () => {
  const gate = new Gate(1);
  const held = await gate.enter({ signal });
  const impatient = new AbortController();
  const left = gate.enter({ signal: impatient.signal });
  impatient.abort(new Error("too long"));
  await expect(left).rejects.toThrow("too long");
  held[Symbol.dispose]();
  held[Symbol.dispose]();
  const next = await gate.enter({ signal });
  const after = gate.enter({ signal });
  expect(await Promise.race([after, Promise.resolve("waits")])).toBe("waits");
  next[Symbol.dispose]();
  (await after)[Symbol.dispose]();
});
