/** Removal of WAL files that nobody needs any more. The one place where archived objects go. */
import { isFailure } from "../errors.ts";
import type { DiscardOptions } from "../retention/retention.ts";
import type { Signalled } from "../store/store.ts";
import { type PlacedName, parseWalName } from "../wal/name.ts";
import type { ClusterArchive } from "./cluster.ts";
import { walKey } from "./keys.ts";
import { storedMetadata } from "./stored.ts";
import type { Sizes } from "./totals.ts";

/**
 * The catalog forgets the names first, so that nobody takes a file that is going for one that was
 * lost. A fetch that has opened a file reads it to its end; one that comes later is told of a gap.
 *
 * Rejects with `store-failed`; then what is still there is in the catalog again.
 */
export async function discardWalFiles(
  cluster: ClusterArchive,
  names: readonly PlacedName[],
  options: DiscardOptions,
): Promise<void> {
  const { filesPerCall, calls } = cluster.store.isShared ? IN_BUCKET : ON_DISK;
  for (let start = 0; start < names.length; start += filesPerCall * calls) {
    const some = names.slice(start, start + filesPerCall * calls);
    await discardSome(cluster, some, { ...options, filesPerCall });
  }
}

/**
 * As many files as a slow disk removes before its lane is taken for one that hangs, and half of the
 * places in that lane: the others are for pushes and fetches.
 */
const ON_DISK = { filesPerCall: 256, calls: 3 };
/** As many as one request removes. */
const IN_BUCKET = { filesPerCall: 1000, calls: 1 };

async function discardSome(
  cluster: ClusterArchive,
  wanted: readonly PlacedName[],
  options: DiscardOptions & { filesPerCall: number },
): Promise<void> {
  // What another daemon has removed since the plan was made is not ours to count.
  const names = wanted.filter((name) => cluster.catalog.holds(name));
  const sizes = await Promise.all(names.map((name) => sizesOf(cluster, name, options)));
  for (const name of names) {
    cluster.others.touch(name);
    cluster.catalog.remove(name);
  }
  const settle = (left: ReadonlySet<PlacedName>) => {
    for (const [index, name] of names.entries()) {
      const size = sizes[index];
      if (left.has(name)) continue;
      cluster.damaged.delete(name.text);
      if (size !== undefined) cluster.totals.subtract(walKey(cluster.name, name), size);
    }
    options.gone(names.filter((name) => !left.has(name)));
  };
  try {
    await removeObjects(cluster, names, options);
  } catch (error) {
    settle(await keepWhatIsLeft(cluster, names));
    throw error;
  }
  settle(new Set());
  forgetLosses(cluster, names.at(-1)?.position ?? "");
}

/** Rejects only when no removal is under way any more. */
async function removeObjects(
  cluster: ClusterArchive,
  names: readonly PlacedName[],
  { filesPerCall, signal }: Signalled & { filesPerCall: number },
): Promise<void> {
  const keys = names.map((name) => walKey(cluster.name, name));
  const count = Math.ceil(keys.length / filesPerCall);
  // Like cards: then all of them come to the newest files last, and a crash leaves few holes.
  const hands = Array.from({ length: count }, (_, hand) => {
    return keys.filter((_, index) => index % count === hand);
  });
  const calls = hands.map((hand) => cluster.store.removeAll(hand, { signal }));
  for (const outcome of await Promise.allSettled(calls)) {
    if (outcome.status === "rejected") throw outcome.reason;
  }
}

/** Nobody misses any more what was lost below what was just removed. */
function forgetLosses(cluster: ClusterArchive, position: string): void {
  for (const text of cluster.lost) {
    const name = parseWalName(text);
    if (name?.kind !== "history" && name !== undefined && name.position <= position) {
      cluster.lost.delete(text);
    }
  }
}

/** `undefined` for what is not there any more. */
async function sizesOf(
  cluster: ClusterArchive,
  name: PlacedName,
  options: Signalled,
): Promise<Sizes | undefined> {
  const listedBytes = cluster.others.storedBytesOf(name);
  const stored =
    listedBytes === undefined
      ? await cluster.store.stat(walKey(cluster.name, name), options)
      : { storedBytes: listedBytes };
  if (stored === undefined) return undefined;
  const { storedBytes } = stored;
  const { segmentSizeBytes } = cluster.binding;
  if (name.kind !== "backup" && segmentSizeBytes !== undefined) {
    return { storedBytes, plainBytes: segmentSizeBytes };
  }
  const metadata = await storedMetadata(cluster, name, options);
  const isReadable = metadata !== undefined && metadata !== "damaged";
  return { storedBytes, plainBytes: isReadable ? metadata.sizeBytes : 0 };
}

const LOOK_MS_MAX = 5000;

/** What a failing store does not tell counts as left: the next prune removes it once more. */
async function keepWhatIsLeft(
  cluster: ClusterArchive,
  names: readonly PlacedName[],
): Promise<ReadonlySet<PlacedName>> {
  const signal = AbortSignal.timeout(LOOK_MS_MAX);
  const left = new Set<PlacedName>();
  for (const name of names) {
    try {
      const found = await cluster.store.stat(walKey(cluster.name, name), { signal });
      if (found === undefined) continue;
    } catch (error) {
      if (!isFailure(error, "store-failed") && !signal.aborted) throw error;
    }
    cluster.catalog.add(name);
    left.add(name);
  }
  return left;
}
