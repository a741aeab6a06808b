/** One fetch: a verified WAL file, or the exact reason why not. */
import { isFailure, WalarcError } from "../errors.ts";
import { damaged } from "../object/metadata.ts";
import { type VerifiedObject, verifyObject } from "../object/verify.ts";
import type { Signalled } from "../store/store.ts";
import type { WalName } from "../wal/name.ts";
import { joinBindings, UNBOUND } from "./binding.ts";
import type { ClusterArchive } from "./cluster.ts";
import { walKey } from "./keys.ts";

export interface FetchOptions extends Signalled {
  /** Decimal; the cluster's identity as the caller knows it. */
  readonly systemIdentifier?: string | undefined;
}

/**
 * The store is asked first and the catalog explains a miss, so "absent" is only ever said of a file
 * that neither of them knows. PostgreSQL may end a recovery on that word.
 *
 * Rejects with `absent`, `gap`, `corrupt`, `rejected` (another system identifier) or
 * `store-failed`.
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

  const object = await cluster.store.open(walKey(cluster.name, name), { signal });
  if (object === undefined) throw explainMiss(cluster, name);
  using _place = await cluster.fetches.enter({ signal });
  try {
    const verified = await verifyObject(object, { name: name.text, budget: cluster.budget });
    await requireSameCluster(cluster, verified);
    cluster.damaged.delete(name.text);
    return verified;
  } catch (error) {
    if (isFailure(error, "corrupt")) cluster.reportDamage(name, error);
    throw error;
  }
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
  if (catalog.missing(name) === "gap") {
    return new WalarcError(
      "gap",
      `${name.text} is missing from cluster "${cluster.name}", although its timeline goes on`,
      {
        hint: 'a recovery cannot pass it: look in pg_wal of the servers, see "walarc status"',
      },
    );
  }
  if (cluster.lost.has(name.text)) {
    return new WalarcError("corrupt", `${name.text} was archived, but its object is gone`, {
      hint: "something removed it from the store: push it again, or restore it from another copy",
    });
  }
  return new WalarcError("absent", `${name.text} is not in the archive of "${cluster.name}"`);
}
