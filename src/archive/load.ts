/** Reading a cluster's archive at the start: names become the catalog, nothing else is kept. */
import { isFailure } from "../errors.ts";
import { verifyObject } from "../object/verify.ts";
import type { Signalled } from "../store/store.ts";
import { Catalog } from "../wal/catalog.ts";
import { FIRST_PAGE_BYTES, readFirstPage } from "../wal/first-page.ts";
import { parseHistory, type TimelineHistory } from "../wal/history.ts";
import { parseWalName, type WalName } from "../wal/name.ts";
import { segmentNumber } from "../wal/segment.ts";
import { type Binding, readBinding, UNBOUND } from "./binding.ts";
import type { ClusterArchive } from "./cluster.ts";
import { walKey, walNameAt, walPrefix } from "./keys.ts";
import { storedMetadata } from "./stored.ts";
import type { Sizes } from "./totals.ts";

export interface LoadedCluster {
  readonly binding: Binding;
  /** Of that, what stands in the store's binding object; nothing, when it is damaged. */
  readonly storedBinding: Binding;
  readonly catalog: Catalog;
  readonly latestArrival: string | undefined;
  /** History files whose object is damaged: their timelines are not understood. */
  readonly damaged: readonly string[];
}

/** Rejects with `store-failed`, and with `corrupt` when the binding cannot be made out. */
export async function loadCluster(
  cluster: ClusterArchive,
  options: Signalled,
): Promise<LoadedCluster> {
  const { binding, storedBinding } = await loadBinding(cluster, options);
  const catalog = new Catalog();
  if (binding.segmentSizeBytes !== undefined) catalog.bindSegmentSize(binding.segmentSizeBytes);

  const histories: WalName[] = [];
  for await (const { key } of cluster.store.list(walPrefix(cluster.name), options)) {
    const name = walNameAt(cluster.name, key);
    if (name === undefined || !isPossible(name, catalog)) {
      cluster.log.warn({ cluster: cluster.name, key }, "object under no name of ours ignored");
      continue;
    }
    catalog.add(name);
    if (name.kind === "history") histories.push(name);
  }
  const damaged = await loadHistories(cluster, { ...options, catalog, histories });
  return {
    binding,
    storedBinding,
    catalog,
    damaged,
    latestArrival: await arrivalOfLatest(cluster, catalog, options),
  };
}

function isPossible(name: WalName, catalog: Catalog): boolean {
  if (name.kind !== "segment") return true;
  const size = catalog.segmentSizeBytes;
  return size !== undefined && segmentNumber(name, size) !== undefined;
}

async function loadHistories(
  cluster: ClusterArchive,
  options: Signalled & { catalog: Catalog; histories: readonly WalName[] },
): Promise<string[]> {
  const damaged: string[] = [];
  for (const name of options.histories) {
    try {
      const content = await readWhole(cluster, name, options);
      options.catalog.addHistory(parseHistory(name, content.toString("latin1")));
    } catch (error) {
      if (!isFailure(error, "corrupt") && !isFailure(error, "rejected")) throw error;
      damaged.push(name.text);
      cluster.log.error(
        { cluster: cluster.name, wal: name.text, err: error },
        "damaged history file",
      );
    }
  }
  return damaged;
}

/** What an archived history file says, `undefined` when there is none that can be understood. */
export async function readHistory(
  cluster: ClusterArchive,
  name: WalName,
  options: Signalled,
): Promise<{ history: TimelineHistory; sizes: Sizes } | undefined> {
  const stored = await cluster.store.stat(walKey(cluster.name, name), options);
  if (stored === undefined) return undefined;
  try {
    const content = await readWhole(cluster, name, options);
    const history = parseHistory(name, content.toString("latin1"));
    return {
      history,
      sizes: { storedBytes: stored.storedBytes, plainBytes: content.length },
    };
  } catch (error) {
    if (!isFailure(error, "corrupt") && !isFailure(error, "rejected")) throw error;
    cluster.reportDamage(name, error);
    return undefined;
  }
}

async function readWhole(
  cluster: ClusterArchive,
  name: WalName,
  options: Signalled,
): Promise<Buffer> {
  const object = await cluster.store.open(walKey(cluster.name, name), options);
  if (object === undefined) return Buffer.alloc(0);
  await using verified = await verifyObject(object, {
    name: name.text,
    budget: cluster.budget,
    proof: "content",
  });
  return Buffer.concat(await Array.fromAsync(verified.plain()));
}

/** When the newest archived segment arrived, ISO 8601. */
export async function arrivalOfLatest(
  cluster: ClusterArchive,
  catalog: Catalog,
  options: Signalled,
): Promise<string | undefined> {
  const latest = parseWalName(catalog.latest() ?? "");
  if (latest === undefined) return undefined;
  const metadata = await storedMetadata(cluster, latest, options);
  return metadata === undefined || metadata === "damaged" ? undefined : metadata.archivedAt;
}

/** A damaged binding is read again from the archived segments, each of which carries it. */
export async function loadBinding(
  cluster: ClusterArchive,
  options: Signalled,
): Promise<Pick<LoadedCluster, "binding" | "storedBinding">> {
  let storedBinding: Binding = UNBOUND;
  try {
    storedBinding = await readBinding(cluster.store, cluster.name, options);
    if (storedBinding.segmentSizeBytes !== undefined) {
      return { binding: storedBinding, storedBinding };
    }
  } catch (error) {
    if (!isFailure(error, "corrupt")) throw error;
    cluster.log.warn({ cluster: cluster.name, err: error }, "binding read from the segments");
  }
  for await (const { key } of cluster.store.list(walPrefix(cluster.name), options)) {
    const name = walNameAt(cluster.name, key);
    if (name?.kind !== "segment") continue;
    const found = await bindingOf(cluster, name, options);
    if (found !== undefined) return { binding: found, storedBinding };
  }
  return { binding: storedBinding, storedBinding };
}

async function bindingOf(
  cluster: ClusterArchive,
  name: WalName,
  options: Signalled,
): Promise<Binding | undefined> {
  try {
    const content = await readWhole(cluster, name, options);
    if (content.length < FIRST_PAGE_BYTES) return undefined;
    const { systemIdentifier, segmentSizeBytes, postgresMajor } = readFirstPage(content);
    return { systemIdentifier, segmentSizeBytes, postgresMajor };
  } catch (error) {
    // A damaged segment tells nothing; the next one may.
    if (isFailure(error, "corrupt") || isFailure(error, "rejected")) return undefined;
    throw error;
  }
}
