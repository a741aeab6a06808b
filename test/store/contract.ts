import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ListedObject, Store } from "../../src/store/store.ts";
import { contentOf, keysOf, put } from "./objects.ts";

const signal = new AbortController().signal;
const WAL = "clusters/main/wal/00000001/00000000/000000010000000000000001";
const OTHER = "clusters/main/wal/00000001/00000000/000000010000000000000002";
const STATE = "clusters/main/standbys/s1.json";

/** An empty store; what it needs is released with the stack. */
export type OpenStore = (stack: AsyncDisposableStack) => Promise<Store>;

/**
 * The five promises of src/store/store.ts, as far as a healthy store can show them, one test each.
 * What a crash or a failing device shows is up to each store's own tests.
 */
export function storePromises(name: string, open: OpenStore): void {
  describe(name, () => {
    let stack: AsyncDisposableStack;
    let store: Store;

    beforeEach(async () => {
      stack = new AsyncDisposableStack();
      store = stack.use(await open(stack));
    });
    afterEach(() => stack.disposeAsync());

    describe("promise 2, whole", () => {
      test("an object shows nowhere before it is published, and then completely", async () => {
        await using staged = await store.stage("main", { signal });
        await staged.write(Buffer.from("one "));
        await staged.write(Buffer.from("two"));
        expect(await store.stat(WAL, { signal })).toBeUndefined();
        expect(await store.open(WAL, { signal })).toBeUndefined();
        expect(await keysOf(store)).toEqual([]);

        expect(await staged.publish(WAL, { signal })).toBe("created");
        expect(await store.stat(WAL, { signal })).toEqual({ key: WAL, storedBytes: 7 });
        expect(await contentOf(store, WAL)).toBe("one two");
        expect(await keysOf(store)).toEqual([WAL]);
      });

      test("what was staged and never published leaves nothing", async () => {
        {
          await using staged = await store.stage("main", { signal });
          await staged.write(Buffer.from("never wanted"));
        }
        expect(await keysOf(store)).toEqual([]);
        expect(await store.clusters({ signal })).toEqual([]);
      });

      test("an aborted publish rejects with the reason and shows nothing", async () => {
        const reason = new Error("the client left");
        await using staged = await store.stage("main", { signal });
        await staged.write(Buffer.from("too late"));
        const publishing = staged.publish(WAL, { signal: AbortSignal.abort(reason) });
        await expect(publishing).rejects.toBe(reason);
        expect(await keysOf(store)).toEqual([]);
      });

      test("the caller may use its buffer again as soon as a write resolves", async () => {
        await using staged = await store.stage("main", { signal });
        const buffer = Buffer.alloc(3);
        for (const text of ["abc", "def", "ghi"]) {
          buffer.write(text);
          await staged.write(buffer);
        }
        await staged.publish(WAL, { signal });
        expect(await contentOf(store, WAL)).toBe("abcdefghi");
      });

      test("an object may be empty, and may be large", async () => {
        await put(store, WAL, "");
        expect(await store.stat(WAL, { signal })).toEqual({ key: WAL, storedBytes: 0 });

        const block = Buffer.alloc(1_000_003);
        await using staged = await store.stage("main", { signal });
        for (let index = 0; index < 20; index += 1) await staged.write(block.fill(index));
        await staged.publish(OTHER, { signal });
        await using object = await store.open(OTHER, { signal });
        expect(object?.storedBytes).toBe(20 * block.length);
        for (let index = 0; index < 20; index += 1) {
          const read = await object?.read(index * block.length, block.length);
          expect(read?.equals(block.fill(index)), `block ${index}`).toBe(true);
        }
      });

      test("a state object is replaced as a whole, by whoever comes last", async () => {
        await store.replace(STATE, Buffer.from("a longer first state"), { signal });
        await store.replace(STATE, Buffer.from("second"), { signal });
        expect(await contentOf(store, STATE)).toBe("second");

        const states = Array.from({ length: 8 }, (_, index) => `${index}`.repeat(50 + index));
        await Promise.all(
          states.map((state) => store.replace(STATE, Buffer.from(state), { signal })),
        );
        expect(states).toContain(await contentOf(store, STATE));
        expect(await keysOf(store)).toEqual([STATE]);
      });
    });

    describe("promise 3, never replaced", () => {
      test("publishing to a key that exists changes nothing", async () => {
        expect(await put(store, WAL, "first")).toBe("created");
        expect(await put(store, WAL, "other")).toBe("exists");
        expect(await put(store, WAL, "first")).toBe("exists");
        expect(await contentOf(store, WAL)).toBe("first");
      });

      test("what found its key taken can still be published elsewhere", async () => {
        const conflict = "clusters/main/conflicts/000000010000000000000001.abcdef";
        await put(store, WAL, "first");
        await using staged = await store.stage("main", { signal });
        await staged.write(Buffer.from("second"));
        expect(await staged.publish(WAL, { signal })).toBe("exists");
        expect(await staged.publish(conflict, { signal })).toBe("created");
        expect(await contentOf(store, conflict)).toBe("second");
        expect(await contentOf(store, WAL)).toBe("first");
      });

      test("of 16 racing publishers exactly one wins, and its object stays", async () => {
        const outcomes = await Promise.all(
          Array.from({ length: 16 }, (_, index) => put(store, WAL, `content ${index}`)),
        );
        const winners = outcomes.flatMap((outcome, index) =>
          outcome === "created" ? [index] : [],
        );
        expect(winners).toHaveLength(1);
        expect(await contentOf(store, WAL)).toBe(`content ${winners[0]}`);
      });

      test("publishers of different keys do not get into each other's way", async () => {
        const keys = Array.from({ length: 16 }, (_, index) => {
          return `clusters/c${index % 3}/wal/00000001/0000000${index}/${index}`;
        });
        const outcomes = await Promise.all(keys.map((key) => put(store, key, key)));
        expect(new Set(outcomes)).toEqual(new Set(["created"]));
        for (const key of keys) expect(await contentOf(store, key)).toBe(key);
      });

      test("only a repair takes the place of an object, or the place of none", async () => {
        await put(store, WAL, "damaged");
        await using staged = await store.stage("main", { signal });
        await staged.write(Buffer.from("whole"));
        await staged.repair(WAL, { signal });
        expect(await contentOf(store, WAL)).toBe("whole");
        expect(await keysOf(store)).toEqual([WAL]);

        await using another = await store.stage("main", { signal });
        await another.write(Buffer.from("new"));
        await another.repair(OTHER, { signal });
        expect(await contentOf(store, OTHER)).toBe("new");
      });

      test("a removed key is free again, and removing it twice succeeds", async () => {
        await put(store, WAL, "first");
        await store.remove(WAL, { signal });
        await store.remove(WAL, { signal });
        expect(await store.stat(WAL, { signal })).toBeUndefined();
        expect(await keysOf(store)).toEqual([]);
        expect(await put(store, WAL, "second")).toBe("created");
        expect(await contentOf(store, WAL)).toBe("second");
      });

      test("of many keys removed at once none stays, there or not, and no other goes", async () => {
        for (const key of [WAL, OTHER, STATE]) await put(store, key, key);
        await store.removeAll([WAL, OTHER, `${WAL}.partial`], { signal });
        await store.removeAll([], { signal });
        expect(await keysOf(store)).toEqual([STATE]);
      });

      test("an object is settled where it is, and one that is not there cannot be", async () => {
        await put(store, WAL, "first");
        await store.settle(WAL, { signal });
        expect(await contentOf(store, WAL)).toBe("first");
        await expect(store.settle(OTHER, { signal })).rejects.toMatchObject({
          code: "store-failed",
        });
      });
    });

    describe("promise 4, verified", () => {
      test("a read brings exactly the bytes asked for, or says that the object is cut", async () => {
        await put(store, WAL, "0123456789");
        await using object = await store.open(WAL, { signal });
        expect(String(await object?.read(0, 10))).toBe("0123456789");
        expect(String(await object?.read(7, 3))).toBe("789");
        expect(String(await object?.read(4, 0))).toBe("");
        await expect(object?.read(7, 4)).rejects.toMatchObject({ code: "corrupt" });
        await expect(object?.read(10, 1)).rejects.toMatchObject({ code: "corrupt" });
      });
    });

    describe("promise 5, listable", () => {
      test("keys come in the order of whole keys, where `.` sorts before `/`", async () => {
        const keys = [
          "clusters/main-2/wal/00000001/00000000/1",
          "clusters/main/cluster.json",
          "clusters/main/wal/00000001.history",
          "clusters/main/wal/00000001/00000000/000000010000000000000001",
          "clusters/main/wal/00000001/00000000/000000010000000000000001.partial",
          "clusters/main/wal/00000001/00000001/000000010000000100000000",
          "clusters/main/wal/00000002/00000000/000000020000000000000001",
          "clusters/main/wal/00000002/00000002.history",
          "clusters/main_2/wal/00000001/00000000/1",
        ];
        for (const key of keys.toReversed()) await put(store, key, "");
        expect(await keysOf(store)).toEqual(keys);
        expect(await store.clusters({ signal })).toEqual(["main", "main-2", "main_2"]);
      });

      test("what is staged or set aside as damaged never shows", async () => {
        await put(store, WAL, "damaged");
        await using staged = await store.stage("main", { signal });
        await staged.repair(WAL, { signal });
        await using _open = await store.stage("main", { signal });
        expect(await keysOf(store)).toEqual([WAL]);
        expect(await keysOf(store, { prefix: "clusters/main/" })).toEqual([WAL]);
        expect(await keysOf(store, { prefix: "clusters/main/damaged/" })).toEqual([]);
        expect(await keysOf(store, { prefix: "clusters/main/tmp/" })).toEqual([]);
      });

      test("from any point of any prefix the rest follows, and no key is missed", async () => {
        const names = ["1", "1.history", "1/0", "1/0/a", "1/1", "10", "2", "2.x/a", "2/a"];
        const part = fc.constantFrom(...names);
        const key = fc.tuple(part, part).map((parts) => `wal/${parts.join("/")}`);
        const sets = fc.uniqueArray(key, { minLength: 1, maxLength: 12 });
        const points = fc.array(fc.oneof(key, fc.constantFrom("", "wal/1/", "z")));
        let runs = 0;
        await fc.assert(
          fc.asyncProperty(sets, points, async (candidates, after) => {
            const cluster = `clusters/run${(runs += 1)}/`;
            const names = candidates.filter((name) => isFree(name, candidates)).sort();
            await Promise.all(names.map((name) => put(store, cluster + name, "")));
            for (const point of [...names, ...after]) {
              const rest = names.filter((name) => name > point).map((name) => cluster + name);
              const options = { prefix: cluster, after: cluster + point };
              expect(await keysOf(store, options)).toEqual(rest);
            }
            for (const part of ["wal/1/", "wal/2/"]) {
              const inside = names.filter((name) => name.startsWith(part));
              expect(await keysOf(store, { prefix: cluster + part })).toEqual(
                inside.map((name) => cluster + name),
              );
            }
          }),
          { numRuns: 25 },
        );
      });

      test("a reader may stop in the middle", async () => {
        for (let index = 0; index < 5; index += 1) await put(store, `${WAL}${index}`, "");
        const found: ListedObject[] = [];
        for await (const object of store.list("clusters/", { signal })) {
          found.push(object);
          if (found.length === 2) break;
        }
        expect(found.map(({ key }) => key)).toEqual([`${WAL}0`, `${WAL}1`]);
      });

      test("what is not there is an empty listing", async () => {
        expect(await keysOf(store)).toEqual([]);
        expect(await keysOf(store, { prefix: "clusters/nobody/wal/" })).toEqual([]);
        expect(await store.clusters({ signal })).toEqual([]);
      });
    });

    test("a probe says that a push could be stored, and leaves nothing", async () => {
      const { freeBytes, totalBytes } = await store.probe({ signal });
      if (freeBytes !== undefined) expect(freeBytes).toBeGreaterThan(0);
      if (totalBytes !== undefined) expect(totalBytes).toBeGreaterThanOrEqual(freeBytes ?? 0);
      expect(await keysOf(store)).toEqual([]);
    });

    test("an aborted signal rejects every operation with its reason", async () => {
      const reason = new Error("no longer wanted");
      const aborted = { signal: AbortSignal.abort(reason) };
      for (const operation of [
        () => store.stat(WAL, aborted),
        () => store.open(WAL, aborted),
        () => store.stage("main", aborted),
        () => store.settle(WAL, aborted),
        () => store.replace(STATE, Buffer.from("x"), aborted),
        () => store.remove(WAL, aborted),
        () => store.removeAll([WAL], aborted),
        () => store.probe(aborted),
        () => store.clusters(aborted),
        () => store.list("clusters/", aborted)[Symbol.asyncIterator]().next(),
      ]) {
        await expect(operation(), String(operation)).rejects.toBe(reason);
      }
    });
  });
}

/** On a disk one key cannot be the directory of another, and WAL keys never are. */
function isFree(key: string, keys: readonly string[]): boolean {
  return !keys.some((other) => other.startsWith(`${key}/`));
}
