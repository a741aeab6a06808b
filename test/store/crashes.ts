import { join } from "node:path";
import { Chance } from "../support/chance.ts";
import { SimulatedFileSystem } from "../support/simulated-file-system.ts";

/** Something that stores, over a file system, and acknowledges by resolving. */
export interface Writer {
  publish(key: string, content: Buffer): Promise<void>;
  replace(key: string, content: Buffer): Promise<void>;
  remove(key: string): Promise<void>;
}

/** How a process comes up on the disk that it finds. Everything it keeps lies below `/store`. */
export type Start = (disk: SimulatedFileSystem) => Promise<Writer>;

/** What a crash can show: an acknowledged change that is gone, or a name without whole content. */
export type Loss =
  | "acknowledged change lost"
  | "partial object visible"
  | "will not start again"
  | "fails in good health";

/** What a life does with its writer. Acts in one group run at the same time. */
export type Life = readonly (readonly Act[])[];

interface Act {
  readonly verb: "publish" | "replace" | "remove";
  readonly key: string;
  readonly content: string;
}

/** How the first life ends. A kill leaves the second one to find what no sync has reached. */
const ENDS = ["power cut", "kill"] as const;

/**
 * Ends the life after each of its steps, by a power cut or a kill; then, for each seed, looks at a
 * disk that this may have left, and lives on: everything is tried once more on it, up to a power
 * cut at some step or at the end. Returns what was lost at least once.
 */
export async function lossesOf(
  start: Start,
  { life, seeds }: { life: Life; seeds: number },
): Promise<Set<Loss>> {
  const losses = new Set<Loss>();
  for (let step = 1; ; step += 1) {
    let isWhole = false;
    for (let seed = 0; seed < seeds; seed += 1) {
      for (const end of ENDS) {
        const chance = new Chance(step * seeds + seed);
        const first = new SimulatedFileSystem();
        const ledger = new Ledger();
        first.crashAfterStep(step);
        await live(start, { disk: first, ledger, life });
        isWhole = first.hasPower;
        if (isWhole && !ledger.isAcknowledged()) losses.add("fails in good health");

        const second = end === "kill" ? first.afterKill() : first.afterCrash(chance.below(1e9));
        await look(second, ledger, losses);
        if (chance.hits(0.7)) second.crashAfterStep(second.steps + 1 + chance.below(120));
        const isUp = await live(start, { disk: second, ledger, life });
        if (!isUp) losses.add("will not start again");
        await look(second.afterCrash(chance.below(1e9)), ledger, losses);
      }
    }
    if (isWhole) return losses;
  }
}

/** Whether the process came up, or died of the power alone. */
async function live(
  start: Start,
  { disk, ledger, life }: { disk: SimulatedFileSystem; ledger: Ledger; life: Life },
): Promise<boolean> {
  let writer;
  try {
    writer = await start(disk);
  } catch {
    return !disk.hasPower;
  }
  for (const group of life) {
    await Promise.allSettled(group.map((act) => perform(act, writer, ledger)));
  }
  return true;
}

async function perform(act: Act, writer: Writer, ledger: Ledger): Promise<void> {
  const content = Buffer.from(act.content);
  const acknowledge = ledger.attempt(act.key, act.verb === "remove" ? undefined : content);
  switch (act.verb) {
    case "publish":
      await writer.publish(act.key, content);
      break;
    case "replace":
      await writer.replace(act.key, content);
      break;
    case "remove":
      await writer.remove(act.key);
      break;
  }
  acknowledge();
}

async function look(disk: SimulatedFileSystem, ledger: Ledger, losses: Set<Loss>): Promise<void> {
  const found = await objectsOn(disk);
  for (const [key, content] of found) {
    if (!ledger.wasEver(key, content)) losses.add("partial object visible");
  }
  for (const key of ledger.keys()) {
    if (!ledger.mayBe(key, found.get(key))) losses.add("acknowledged change lost");
  }
}

/** Every file below `/store/clusters` that a reader would take for an object. */
export async function objectsOn(disk: SimulatedFileSystem): Promise<Map<string, Buffer>> {
  const objects = new Map<string, Buffer>();
  const visit = async (directory: string): Promise<void> => {
    for (const { name, kind } of (await disk.list(join("/store", directory))) ?? []) {
      const key = join(directory, name);
      if (/^clusters\/[^/]+\/(?:tmp|damaged)$/.test(key)) continue;
      if (kind === "directory") await visit(key);
      const file = kind === "file" ? await disk.open(join("/store", key)) : undefined;
      if (file !== undefined) objects.set(key, await file.read(0, file.sizeBytes));
    }
  };
  await visit("clusters");
  return objects;
}

type Content = Buffer | undefined;

/** What was attempted with each key, in order, and up to where it is acknowledged. */
class Ledger {
  readonly #attempts = new Map<string, { contents: Content[]; acknowledged: number }>();

  keys(): IterableIterator<string> {
    return this.#attempts.keys();
  }

  /** The result is to be called when the attempt is acknowledged. */
  attempt(key: string, content: Content): () => void {
    const attempts = this.#attempts.get(key) ?? { contents: [undefined], acknowledged: 0 };
    this.#attempts.set(key, attempts);
    const index = attempts.contents.push(content) - 1;
    return () => (attempts.acknowledged = Math.max(attempts.acknowledged, index));
  }

  /** What was acknowledged last, or anything attempted since. */
  mayBe(key: string, found: Content): boolean {
    const { contents, acknowledged } = this.#attempts.get(key) ?? { contents: [], acknowledged: 0 };
    return contents.slice(acknowledged).some((content) => isSame(content, found));
  }

  isAcknowledged(): boolean {
    return [...this.#attempts.values()].every(({ contents, acknowledged }) => {
      return acknowledged === contents.length - 1;
    });
  }

  wasEver(key: string, found: Content): boolean {
    return this.#attempts.get(key)?.contents.some((content) => isSame(content, found)) ?? false;
  }
}

function isSame(one: Content, other: Content): boolean {
  return one === undefined || other === undefined ? one === other : one.equals(other);
}
