import { pino } from "pino";
import { expect, test } from "vitest";
import { Archive } from "../../src/archive/archive.ts";
import { writeBinding } from "../../src/archive/binding.ts";
import { walKey } from "../../src/archive/keys.ts";
import { DEFAULT_POLICY } from "../../src/retention/policy.ts";
import { DiskStore } from "../../src/store/disk.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { removableNames } from "../../src/wal/retention.ts";
import { SimulatedFileSystem } from "../support/simulated-file-system.ts";
import { MIB } from "../support/wal-maker.ts";
import { segmentText, signal } from "./stage.ts";

/*
 * A life of reports, holds and prunes whose power fails after every single step of the file system,
 * and what a daemon finds on each of the disks that such a cut may leave.
 */

const SEEDS = 4;
const NAMES = [
  ...range(4090, 4110).map((number) => segmentText(number)),
  ...range(4100, 4110).map((number) => segmentText(number, 2)),
  `${segmentText(4093)}.00000028.backup`,
  `${segmentText(4099)}.partial`,
];

/** What was acknowledged, or may have happened because it was begun. */
interface Ledger {
  /** Restart point of "s1". */
  restartPoint: number;
  restartPointBegun: number;
  hold: number | undefined;
  holdBegun: number | undefined;
  /** Everything from here on must be there. */
  neededFrom: number;
}

type Step = (archive: Archive, ledger: Ledger) => Promise<void>;

const report = (number: number): Step => {
  return async (archive, ledger) => {
    ledger.restartPointBegun = number;
    const { register } = await archive.retention("main", { signal });
    await register.report("s1", segmentText(number), { source: "report", signal });
    ledger.restartPoint = number;
  };
};

const putHold = (number: number): Step => {
  return async (archive, ledger) => {
    ledger.holdBegun = number;
    const { register } = await archive.retention("main", { signal });
    await register.putHold("h", { from: segmentText(number), until: undefined, signal });
    ledger.hold = number;
  };
};

const removeHold: Step = async (archive, ledger) => {
  ledger.holdBegun = undefined;
  const { register } = await archive.retention("main", { signal });
  await register.removeHold("h", { signal });
  ledger.hold = undefined;
};

const prune: Step = async (archive, ledger) => {
  ledger.neededFrom = horizonOf(ledger);
  await (await archive.retention("main", { signal })).prune({ signal });
};

const LIFE: readonly Step[] = [
  prune,
  report(4095),
  prune,
  putHold(4097),
  report(4105),
  prune,
  report(4101),
  removeHold,
  prune,
  prune,
];

test("no cut of the power loses a claim, or WAL that was claimed", async () => {
  let cuts = 0;
  let removed = 0;
  for (let step = 1; ; step += 1) {
    const disk = await prepared();
    const ledger: Ledger = {
      restartPoint: 4092,
      restartPointBegun: 4092,
      hold: undefined,
      holdBegun: undefined,
      neededFrom: 0,
    };
    disk.crashAfterStep(disk.steps + step);
    await liveUntilCut(disk, ledger);
    if (disk.hasPower) break;
    cuts += 1;
    for (let seed = 0; seed < SEEDS; seed += 1) {
      removed += await look(disk.afterCrash(step * 100 + seed), ledger);
    }
  }
  expect(cuts).toBeGreaterThan(100);
  expect(removed).toBeGreaterThan(1000);
});

async function liveUntilCut(disk: SimulatedFileSystem, ledger: Ledger): Promise<void> {
  try {
    const archive = await open(disk);
    for (const act of LIFE) await act(archive, ledger);
  } catch {
    // The power is gone, which is what this is about; anything else would leave it on.
    expect(disk.hasPower).toBe(false);
  }
}

/** Resolves to how many files were gone before this daemon came. */
async function look(disk: SimulatedFileSystem, ledger: Ledger): Promise<number> {
  const archive = await open(disk);
  const found = await namesOf(archive);
  const needed = NAMES.filter((name) => numberOf(name) >= ledger.neededFrom);
  expect(found).toEqual(expect.arrayContaining(needed));

  const { claims } = await archive.status("main", { signal });
  const standby = numberOf(claims.find(({ kind }) => kind === "standby")?.from ?? "");
  expect([ledger.restartPoint, ledger.restartPointBegun]).toContain(standby);
  const hold = claims.find(({ kind }) => kind === "hold")?.from;
  expect([ledger.hold, ledger.holdBegun]).toContain(hold ? numberOf(hold) : undefined);

  // Life goes on: a plan, exactly carried out, and then nothing left to do.
  const retention = await archive.retention("main", { signal });
  const planned = [...removableNames(await retention.plan({ signal }))].map(({ text }) => text);
  const horizon = Math.min(standby, hold ? numberOf(hold) : Number.POSITIVE_INFINITY);
  await retention.prune({ signal });
  const left = await namesOf(archive);
  expect(left).toEqual(found.filter((name) => !planned.includes(name)));
  expect(left).toEqual(found.filter((name) => numberOf(name) >= horizon));
  expect([...removableNames(await retention.plan({ signal }))]).toEqual([]);
  await archive[Symbol.asyncDispose]();
  return NAMES.length - found.length;
}

async function prepared(): Promise<SimulatedFileSystem> {
  const disk = new SimulatedFileSystem();
  const store = await DiskStore.open("/store", { fileSystem: disk });
  const binding = { systemIdentifier: "1", segmentSizeBytes: MIB, postgresMajor: 15 };
  await writeBinding(store, "main", { binding, signal });
  for (const name of NAMES) {
    await using staged = await store.stage("main", { signal });
    await staged.write(Buffer.from(name));
    await staged.publish(walKey("main", requireWalName(name)), { signal });
  }
  const archive = await archiveOn(store);
  await report(4092)(archive, {} as Ledger);
  await archive[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  return disk;
}

async function open(disk: SimulatedFileSystem): Promise<Archive> {
  return archiveOn(await DiskStore.open("/store", { fileSystem: disk }));
}

async function archiveOn(store: DiskStore): Promise<Archive> {
  const retention = { ...DEFAULT_POLICY, keepBackups: 0 };
  return Archive.open({
    store,
    log: pino({ level: "silent" }),
    compressionLevel: 1,
    clusters: new Map([["main", { systemIdentifier: undefined, retention }]]),
    signal,
  });
}

async function namesOf(archive: Archive): Promise<string[]> {
  const { files } = await archive.page("main", { limit: 1000, signal });
  return files.map(({ name }) => name);
}

function horizonOf({ restartPoint, hold }: Ledger): number {
  return Math.min(restartPoint, hold ?? Number.POSITIVE_INFINITY);
}

function numberOf(name: string): number {
  return Number.parseInt(name.slice(8, 16), 16) * 4096 + Number.parseInt(name.slice(16, 24), 16);
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
