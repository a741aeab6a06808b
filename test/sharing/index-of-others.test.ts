import { describe, expect, test } from "vitest";
import { requireWalName } from "../../src/wal/name.ts";
import { makeBackupHistory, makeHistory, makeSegment, MIB } from "../support/wal-maker.ts";
import { segment, segmentText, segmentTexts } from "../retention/stage.ts";
import { Daemon, fill, openStore, signal } from "./daemons.ts";

describe("what another daemon archives", () => {
  test("is served at once, and makes what is missing before it a gap at once", async () => {
    const store = await openStore();
    await fill(store, segmentTexts(1, 3));
    await using a = await Daemon.start(store);
    await using b = await Daemon.start(store);
    expect(await b.fetch(segmentText(4))).toBe("absent");

    await a.push(segment(6));
    expect(await b.fetch(segmentText(6))).toBe("served");
    expect(await b.fetch(segmentText(4))).toBe("gap");
    expect(await b.fetch(segmentText(7))).toBe("absent");
    await a.push(segment(4), segment(5));
    expect(await b.fetch(segmentText(5))).toBe("served");
  });

  test("is waited for where the next ones were faster, and only there", async () => {
    const store = await openStore();
    await fill(store, segmentTexts(1, 3));
    await using a = await Daemon.start(store);
    await using b = await Daemon.start(store, { overtakenMs: 20_000 });
    await a.push(segment(5));
    const fetched = b.fetch(segmentText(4));
    expect(await Promise.race([fetched, b.fetch(segmentText(5))])).toBe("served");
    await a.push(segment(4));
    expect(await fetched).toBe("served");

    await a.push(segment(7));
    const caller = new AbortController();
    const name = requireWalName(segmentText(6));
    const left = b.archive.fetch("main", name, { signal: caller.signal });
    setTimeout(() => caller.abort(new Error("the client left")), 50);
    await expect(left).rejects.toThrow("the client left");

    await a.push(segment(100));
    expect(await b.fetch(segmentText(6))).toBe("gap");
  });

  test("shows everywhere after a look, like what one daemon alone would say", async () => {
    const store = await openStore();
    await using a = await Daemon.start(store);
    await using b = await Daemon.start(store);
    await a.push(
      segment(5),
      segment(6),
      segment(9),
      makeBackupHistory({ number: 6, segmentSizeBytes: MIB }),
    );
    await b.look();
    await b.push(
      makeHistory(2, [{ timeline: 1, switchLsn: "0/B00000" }]),
      segment(11, { timeline: 2 }),
    );
    await a.look();
    const [one, other] = [await statusOf(a), await statusOf(b)];
    expect(one).toEqual(other);
    expect(one.latest?.name).toBe(segmentText(11, 2));
    expect(await a.listed()).toEqual(await b.listed());
    expect(await a.fetch(segmentText(7))).toBe("gap");
    // The history tells that timeline 1 went on until there.
    expect(await a.fetch(segmentText(10))).toBe("gap");
  });

  test("a new timeline makes what its history proves to have existed a gap, without a look", async () => {
    const store = await openStore();
    await fill(store, segmentTexts(1, 3));
    await using a = await Daemon.start(store);
    await using b = await Daemon.start(store);
    await a.push(
      makeHistory(2, [{ timeline: 1, switchLsn: "0/800000" }]),
      segment(8, { timeline: 2 }),
    );
    expect(await b.fetch(segmentText(5))).toBe("gap");
    await using c = await Daemon.start(store);
    await b.push(segment(9, { timeline: 3 }));
    expect(await c.fetch("00000003.history")).toBe("gap");
    expect(await c.fetch("00000004.history")).toBe("absent");
  });

  test("costs a standby that waits one look at the store, and one that is served none", async () => {
    const store = await openStore();
    await fill(store, segmentTexts(1, 50));
    await using b = await Daemon.start(store);
    await b.fetch(segmentText(1));
    b.view.done.length = 0;
    expect(await b.fetch(segmentText(50))).toBe("served");
    expect(b.view.count("list")).toBe(0);

    const waiting = Array.from({ length: 20 }, () => b.fetch(segmentText(51)));
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(["absent"]));
    expect(b.view.count("list")).toBe(1);
  });

  test("a look that fails is never the word absent", async () => {
    const store = await openStore();
    await fill(store, segmentTexts(1, 3));
    await using b = await Daemon.start(store);
    await b.fetch(segmentText(1));
    b.view.before = (operation) => {
      if (operation === "list") throw new Error("the bucket hangs up");
    };
    await expect(b.fetch(segmentText(4))).rejects.toThrow("hangs up");
  });
});

describe("a cluster that another daemon has made", () => {
  test("is known without a restart, with its binding", async () => {
    const store = await openStore();
    await using a = await Daemon.start(store, { configured: false });
    await using b = await Daemon.start(store, { configured: false });
    expect(await b.fetch(segmentText(1))).toBe("unknown-cluster");
    await a.push(segment(1));
    await a.archive.discover({ signal });
    await expect.poll(() => b.fetch(segmentText(1)), { timeout: 5000 }).toBe("served");
    expect(b.archive.clusters()).toEqual(["main"]);
    await expect(b.push(segment(2, { systemIdentifier: "8" }))).rejects.toThrow("identifier 8");
  });

  test("binds the first push here, also where nothing was known of it", async () => {
    const store = await openStore();
    await using a = await Daemon.start(store);
    await using b = await Daemon.start(store);
    await b.retention;
    await a.push(segment(1));
    await expect(b.push(segment(2, { systemIdentifier: "8" }))).rejects.toThrow("bound to");
    await b.push(segment(2));
    expect(await a.fetch(segmentText(2))).toBe("served");
  });

  test("gets one identity, of two that come at once", async () => {
    for (let round = 0; round < 8; round += 1) {
      const store = await openStore();
      await using a = await Daemon.start(store);
      await using b = await Daemon.start(store);
      const pushes = [a.push(segment(1)), b.push(segment(1, { systemIdentifier: "8" }))];
      const outcomes = (await Promise.allSettled(pushes)).map(({ status }) => status);
      expect(outcomes.sort()).toEqual(["fulfilled", "rejected"]);
    }
  });

  test("gets one segment size, where the system identifier was bound before", async () => {
    for (let round = 0; round < 8; round += 1) {
      const store = await openStore();
      await using a = await Daemon.start(store);
      await using b = await Daemon.start(store);
      const body = async function* () {
        yield makeHistory(2, [{ timeline: 1, switchLsn: "0/800000" }]).bytes;
      };
      const told = { systemIdentifier: "7312345678901234567", signal };
      await a.archive.push("main", requireWalName("00000002.history"), body(), told);
      const large = makeSegment({ number: 1, segmentSizeBytes: 2 * MIB, content: "sparse" });
      const pushes = [a.push(segment(1)), b.push(large)];
      const outcomes = (await Promise.allSettled(pushes)).map(({ status }) => status);
      expect(outcomes.sort()).toEqual(["fulfilled", "rejected"]);
    }
  });
});

describe("what another daemon has pruned", () => {
  test("is a gap here, and what vanished without a prune is corrupt", async () => {
    const store = await openStore();
    await fill(store, segmentTexts(1, 20));
    await using a = await Daemon.start(store);
    await using b = await Daemon.start(store);
    await b.fetch(segmentText(1));
    await a.report("s1", 10);
    expect(await a.prune()).toEqual(segmentTexts(1, 9));
    for (const lost of [15, 20]) {
      await store.remove(`clusters/main/wal/00000001/00000000/${segmentText(lost)}`, { signal });
    }

    expect(await b.fetch(segmentText(5))).toBe("gap");
    expect((await statusOf(b)).damaged).toEqual([]);
    expect(await b.fetch(segmentText(20))).toBe("corrupt");
    expect(await b.fetch(segmentText(15))).toBe("gap");
    expect((await statusOf(b)).damaged).toEqual([segmentText(15), segmentText(20)]);
    await b.look();
    expect(await b.listed()).toEqual([...segmentTexts(10, 14), ...segmentTexts(16, 19)]);
    expect((await statusOf(b)).stored.files).toBe(9);
  });
});

async function statusOf(daemon: Daemon) {
  const status = await daemon.archive.status("main", { signal });
  const { latest, timelines, stored, damaged, binding } = {
    binding: status.systemIdentifier,
    ...status,
  };
  return { latest, timelines, damaged, binding, stored: { files: stored.files } };
}
