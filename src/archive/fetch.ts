/** One fetch: a verified WAL file, or the exact reason why not. */
import { isFailure, WalarcError } from "../errors.ts";
import { damaged } from "../object/metadata.ts";
import { type VerifiedObject, verifyObject } from "../object/verify.ts";
import type { OpenObject, Signalled } from "../store/store.ts";
import type { Catalog } from "../wal/catalog.ts";
import type { WalName } from "../wal/name.ts";
import { segmentNumber } from "../wal/segment.ts";
import { joinBindings, UNBOUND } from "./binding.ts";
import type { ClusterArchive } from "./cluster.ts";
import { walKey } from "./keys.ts";

export interface FetchOptions extends Signalled {
  /** Decimal; the cluster's identity as the caller knows it. */
  readonly systemIdentifier?: string | undefined;
}

const READINGS_MAX = 2;

/**
 * The store is asked first and the catalog explains a miss, so "absent" is only ever said of a file
 * that neither of them knows. PostgreSQL may end a recovery on that word.
 *
 * Rejects with `absent`, `gap`, `corrupt`, `rejected` (another system identifier), `store-failed`,
 * or `unknown-cluster` while nothing was archived yet.
 */
export async function fetchWalFile(
  cluster: ClusterArchive,
  name: WalName,
  options: FetchOptions,
): Promise<VerifiedObject> {
  const { signal } = options;
  await cluster.loaded({ signal });
  const told = { ...UNBOUND, systemIdentifier: options.systemIdentifier };
  joinBindings(cluster.binding, told, cluster.name);

  const key = walKey(cluster.name, name);
  await using stack = new AsyncDisposableStack();
  const object =
    (await cluster.store.open(key, { signal })) ?? (await openAfterLook(cluster, name, { signal }));
  if (object === undefined) throw explainMiss(cluster, name);
  stack.use(object);
  using _place = await cluster.fetches.enter({ signal });
  stack.move(); // From here on it belongs to whoever verifies it.
  return await verifyReading(cluster, name, {
    object,
    again: () => cluster.store.open(key, options),
  });
}

/** What a bucket far away brings may be damaged on its way: then it is read once more. */
async function verifyReading(
  cluster: ClusterArchive,
  name: WalName,
  reading: { object: OpenObject; again: () => Promise<OpenObject | undefined> },
): Promise<VerifiedObject> {
  const { budget } = cluster;
  let { object } = reading;
  for (let left = cluster.store.isShared ? READINGS_MAX : 1; ; left -= 1) {
    try {
      const verified = await verifyObject(object, { name: name.text, budget, proof: "stored" });
      await requireSameCluster(cluster, verified);
      cluster.damaged.delete(name.text);
      return verified;
    } catch (error) {
      if (!isFailure(error, "corrupt")) throw error;
      const again = left > 1 ? await reading.again() : undefined;
      if (again === undefined) {
        cluster.reportDamage(name, error);
        throw error;
      }
      object = again;
    }
  }
}

/**
 * Other daemons may have archived what makes a missing file a gap, or removed the file itself. Of
 * that the catalog learns before it explains anything; whatever came meanwhile is looked for again.
 */
async function openAfterLook(
  cluster: ClusterArchive,
  name: WalName,
  options: Signalled,
): Promise<OpenObject | undefined> {
  const { store, others, catalog } = cluster;
  if (store.isShared) {
    if (catalog.holds(name)) await others.isPruned(name, options);
    const isUnknown = !catalog.holds(name) && catalog.missing(name) === "absent";
    if (isUnknown) await others.relearnMiss(name, options);
  }
  // Held: archived since the store was asked, or lost, which is not to be said without a look.
  if (!catalog.holds(name) && catalog.missing(name) === "absent") return undefined;
  return store.open(walKey(cluster.name, name), options);
}

async function requireSameCluster(
  cluster: ClusterArchive,
  verified: VerifiedObject,
): Promise<void> {
  const stored = verified.metadata.systemIdentifier;
  const bound = cluster.binding.systemIdentifier;
  if (stored === null || bound === undefined || stored === bound) return;
  await verified[Symbol.asyncDispose]();
  throw damaged(`it is of system identifier ${stored}, not ${bound}`);
}

function explainMiss(cluster: ClusterArchive, name: WalName): WalarcError {
  const { catalog } = cluster;
  if (catalog.holds(name)) cluster.reportLoss(name);
  if (catalog.missing(name) === "gap") return explainGap(cluster, name);
  if (cluster.lost.has(name.text)) {
    return new WalarcError("corrupt", `${name.text} was archived, but its object is gone`, {
      hint: "something removed it from the store: push it again, or restore it from another copy",
    });
  }
  if (cluster.isEmpty) return nothingYet(cluster);
  return new WalarcError("absent", `${name.text} is not in the archive of "${cluster.name}"`);
}

function explainGap(cluster: ClusterArchive, name: WalName): WalarcError {
  if (isBeforeAll(cluster.catalog, name)) {
    return new WalarcError("gap", `${name.text} is older than all WAL of "${cluster.name}"`, {
      hint: "retention removed it, or archiving began later: restore from a newer base backup",
    });
  }
  return new WalarcError(
    "gap",
    `${name.text} is missing from cluster "${cluster.name}", although its timeline goes on`,
    { hint: 'a recovery cannot pass it: look in pg_wal of the servers, see "walarc status"' },
  );
}

function isBeforeAll(catalog: Catalog, name: WalName): boolean {
  const size = catalog.segmentSizeBytes;
  if (name.kind === "history" || size === undefined || catalog.segments === 0) return false;
  const number = segmentNumber(name, size) ?? Number.POSITIVE_INFINITY;
  return catalog.segmentRanges().every(({ ranges }) => ranges.every(({ first }) => first > number));
}

/**
 * A configured cluster is served before its first push, and so it is over a store whose file system
 * is not mounted, where all of it seems new. Nobody recovers from an archive that never began.
 */
function nothingYet(cluster: ClusterArchive): WalarcError {
  const message = `nothing was ever archived of cluster "${cluster.name}" in this store`;
  return new WalarcError("unknown-cluster", message, {
    hint: "is the store's file system mounted, and is this the right cluster?",
  });
}
