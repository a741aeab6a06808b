import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ServiceTime } from "../../src/retention/service-time.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { LightArchive } from "./light-archive.ts";
import { segmentText, signal } from "./stage.ts";

const YEAR_MS = 365 * 86_400_000;
const START = Date.parse("2026-11-21T12:00:00Z");

// The time of day alone: everything else goes on.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: START });
});
afterEach(() => {
  vi.useRealTimers();
});

describe("the time of service", () => {
  test("counts what passes while somebody looks, not a sleep, and never backwards", () => {
    let clockMs = 1e9;
    const time = new ServiceTime(() => clockMs);
    clockMs += 5000;
    expect(time.now()).toBe(5000);
    clockMs += YEAR_MS;
    expect(time.now()).toBe(15_000);
    clockMs -= YEAR_MS;
    expect(time.now()).toBe(15_000);
    clockMs += 1;
    expect(time.now()).toBe(15_001);
  });

  test("goes on from what was served before, which is not this start's", () => {
    let clockMs = 0;
    const time = new ServiceTime(() => clockMs);
    clockMs += 100;
    time.goOnFrom(5000);
    clockMs += 100;
    expect([time.now(), time.sinceStart()]).toEqual([5100, 200]);
    time.goOnFrom(1000);
    expect(time.now()).toBe(5100);
  });
});

async function staleOf(archive: LightArchive): Promise<Record<string, unknown>> {
  const { standbysOf } = await import("../../src/retention/claims.ts");
  const claimants = await archive.retention.register.load({ signal });
  return Object.fromEntries(
    standbysOf(claimants).map(({ name, stale, released }) => [name, { stale, released }]),
  );
}

describe("a silent standby", () => {
  const policy = { staleAfterMs: 60_000, stalePolicy: "release" } as const;

  test("is reported as stale, by name and once, and still holds", async () => {
    const archive = await LightArchive.open({ policy: { staleAfterMs: 60_000 } });
    for (let number = 1; number <= 9; number += 1) archive.add(number);
    await archive.report("s1", 5);
    archive.pass(59_000);
    await archive.retention.step({ signal });
    expect(archive.logged.join("")).not.toContain("stale");
    archive.pass(2000);
    await archive.retention.step({ signal });
    await archive.retention.step({ signal });
    expect(archive.logged.filter((line) => line.includes("standby is stale"))).toHaveLength(1);
    expect(await staleOf(archive)).toEqual({ s1: { stale: true, released: false } });
    archive.pass(10 * 60_000);
    expect(archive.catalog.segments).toBe(5);
    await archive.report("s1", 5);
    await archive.retention.step({ signal });
    expect(archive.logged.join("")).toContain("standby is not stale any more");
  });

  test("is released where the policy says so, but never the last claim of all", async () => {
    const archive = await LightArchive.open({ policy });
    for (let number = 1; number <= 9; number += 1) archive.add(number);
    await archive.report("s1", 3);
    await archive.report("s2", 7);
    archive.pass(61_000);
    expect(await archive.removableTo()).toBe(0); // Both are silent: no claim, no removal.
    await archive.report("s2", 7);
    expect(await archive.removableTo()).toBe(6);
    await archive.retention.step({ signal });
    expect(archive.logged.join("")).toContain("stale standby no longer holds WAL");
  });

  test("that was never heard from is stale some day, and never released", async () => {
    const archive = await LightArchive.open({ policy, standbys: ["s1"] });
    for (let number = 1; number <= 9; number += 1) archive.add(number);
    await archive.report("s2", 7);
    archive.pass(61_000);
    await archive.report("s2", 7);
    expect(await staleOf(archive)).toMatchObject({ s1: { stale: true, released: false } });
    expect(await archive.removableTo()).toBe(0);
  });

  test("is silent only while the daemon listens, and released only by one that has", async () => {
    const options = { policy };
    const archive = await LightArchive.open(options);
    for (let number = 1; number <= 9; number += 1) archive.add(number);
    await archive.report("s1", 3);
    archive.pass(50_000);
    await archive.stop();
    vi.setSystemTime(START + 7 * 86_400_000); // Down for a week.
    archive.clockMs = 7e9;
    await archive.start(options);
    await archive.report("s2", 7);
    expect(await staleOf(archive)).toMatchObject({ s1: { stale: false, released: false } });
    archive.pass(11_000);
    expect(await staleOf(archive)).toMatchObject({ s1: { stale: true, released: false } });
    expect(await archive.removableTo()).toBe(2);
    archive.pass(50_000);
    await archive.report("s2", 7);
    expect(await staleOf(archive)).toMatchObject({ s1: { stale: true, released: true } });
    expect(await archive.removableTo()).toBe(6);
  });
});

describe("a window of time", () => {
  const policy = { keepForMs: 60_000 };

  test("counts back from the newest segment's arrival, not from now", async () => {
    const archive = await LightArchive.open({ policy });
    for (let number = 1; number <= 10; number += 1) {
      archive.add(number);
      archive.pass(20_000);
    }
    // 10 arrived at 180 s, 7 at 120 s.
    expect(await archive.removableTo()).toBe(6);
    archive.pass(YEAR_MS / 365);
    expect(await archive.removableTo()).toBe(6);
  });

  test("keeps all that arrived before anybody counted, until that is long enough ago", async () => {
    const archive = await LightArchive.open();
    for (let number = 1; number <= 5; number += 1) {
      archive.add(number);
      archive.pass(1000);
    }
    await archive.stop("kill"); // Nothing was written down.
    await archive.start({ policy });
    expect(await archive.removableTo()).toBe(0);
    archive.pass(59_000);
    archive.add(6);
    expect(await archive.removableTo()).toBe(0);
    archive.pass(5000);
    archive.add(7);
    expect(await archive.removableTo()).toBe(5);
  });

  test("outlives restarts, and time that walarc was down counts as none", async () => {
    const archive = await LightArchive.open({ policy });
    archive.add(1);
    archive.pass(40_000);
    archive.add(2);
    await archive.stop();
    archive.clockMs = 1e12;
    await archive.start({ policy });
    archive.pass(30_000);
    archive.add(3);
    expect(await archive.removableTo()).toBe(1);
  });

  test("takes a segment that nobody saw arrive for as old and as young as it may be", async () => {
    const archive = await LightArchive.open({ policy });
    archive.add(1);
    archive.pass(100_000);
    archive.catalog.add(requireWalName(segmentText(2))); // As another daemon would have it.
    // If 2 came at once, 1 is in the window; if 2 came just now, it is itself.
    expect(await archive.removableTo()).toBe(0);
    archive.pass(30_000);
    archive.add(3);
    expect(await archive.removableTo()).toBe(1);
  });

  test.each(["{", '{"format":1}', '{"format":1,"servedMs":-1,"newest":null,"arrivals":[]}'])(
    "begins anew after damage: %s",
    async (text) => {
      const archive = await LightArchive.open({ policy });
      archive.add(1);
      archive.pass(100_000);
      archive.add(2);
      expect(await archive.removableTo()).toBe(1);
      await archive.stop();
      await archive.damage("service.json", text);
      await archive.start({ policy });
      expect(await archive.removableTo()).toBe(0);
    },
  );
});

describe("a hold with an end", () => {
  test("ends when so much time was served, and the time of day agrees", async () => {
    const archive = await LightArchive.open();
    for (let number = 1; number <= 9; number += 1) archive.add(number);
    await archive.report("s1", 8);
    await archive.hold("h", 4, new Date(START + 60_000));
    expect(await archive.removableTo()).toBe(3);
    vi.setSystemTime(START + 10 * YEAR_MS);
    expect(await archive.removableTo()).toBe(3);
    vi.setSystemTime(START - 10 * YEAR_MS);
    archive.pass(60_000);
    expect(await archive.removableTo()).toBe(3);
    vi.setSystemTime(START + 60_000);
    expect(await archive.removableTo()).toBe(7);
    await archive.retention.step({ signal });
    expect(archive.logged.join("")).toContain("hold ended");
    expect((await archive.retention.register.load({ signal })).holds.size).toBe(0);
  });
});

test("prunes come once per interval, which a restart does not begin anew", async () => {
  const options = { policy: { intervalMs: 60_000 } };
  const archive = await LightArchive.open(options);
  const step = async (ms: number) => {
    archive.pass(ms);
    await archive.retention.step({ signal });
    return archive.catalog.segments;
  };
  for (let number = 1; number <= 9; number += 1) archive.add(number);
  await archive.report("s1", 5);
  expect(await step(40_000)).toBe(9);
  await archive.stop();
  await archive.start(options);
  expect(await step(15_000)).toBe(9);
  expect(await step(6000)).toBe(5);
  await archive.report("s1", 7);
  expect(await step(50_000)).toBe(5);
  expect(await step(11_000)).toBe(3);
});
