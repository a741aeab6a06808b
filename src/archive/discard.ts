/** Removal of WAL files that nobody needs any more. The one place where archived objects go. */
import { isFailure } from "../errors.ts";
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
  options: Signalled,
): Promise<void> {
  for (let start = 0; start < names.length; start += FILES_AT_ONCE) {
    await discardSome(cluster, names.slice(start, start + FILES_AT_ONCE), options);
  }
}

/** As many as a slow disk removes before its lane is taken for one that hangs. */
const FILES_AT_ONCE = 256;

async function discardSome(
  cluster: ClusterArchive,
  names: readonly PlacedName[],
  options: Signalled,
): Promise<void> {
  const keys = names.map((name) => walKey(cluster.name, name));
  const sizes = await Promise.all(names.map((name) => sizesOf(cluster, name, options)));
  for (const name of names) cluster.catalog.remove(name);
  try {
    await cluster.store.removeAll(keys, options);
  } catch (error) {
    await keepWhatIsLeft(cluster, names);
    throw error;
  }
  for (const [index, name] of names.entries()) {
    cluster.damaged.delete(name.text);
    const size = sizes[index];
    if (size !== undefined) cluster.totals.subtract(keys[index]!, size);
  }
  forgetLosses(cluster, names.at(-1)?.position ?? "");
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
  const stored = await cluster.store.stat(walKey(cluster.name, name), options);
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
): Promise<void> {
  const signal = AbortSignal.timeout(LOOK_MS_MAX);
  for (const name of names) {
    try {
      const found = await cluster.store.stat(walKey(cluster.name, name), { signal });
      if (found === undefined) continue;
    } catch (error) {
      if (!isFailure(error, "store-failed") && !signal.aborted) throw error;
    }
    cluster.catalog.add(name);
  }
}
