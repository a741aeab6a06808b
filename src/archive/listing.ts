/** Pages of archived WAL files. */
import type { Signalled } from "../store/store.ts";
import { parseWalName, type WalName } from "../wal/name.ts";
import { namesInOrder } from "../wal/names-in-order.ts";
import type { ClusterArchive } from "./cluster.ts";
import { walKey } from "./keys.ts";
import { storedMetadata } from "./stored.ts";

export interface ArchivedFile {
  readonly name: string;
  readonly kind: WalName["kind"];
  /** Plain bytes; `null`, like the digest and the arrival, when the object is damaged. */
  readonly sizeBytes: number | null;
  readonly storedBytes: number;
  readonly sha256: string | null;
  readonly archivedAt: string | null;
}

export interface Page {
  readonly files: readonly ArchivedFile[];
  /** Name to go on after, `null` at the end. */
  readonly next: string | null;
}

export const PAGE_FILES_MAX = 1000;
const READS_AT_ONCE = 8;

/** By name, ascending: a timeline's history first, `.backup` and `.partial` after their segment. */
export async function pageOf(
  cluster: ClusterArchive,
  options: Signalled & { after?: string | undefined; limit: number },
): Promise<Page> {
  const names = [...namesInOrder(cluster.catalog, options.after).take(options.limit + 1)];
  const shown = names.slice(0, options.limit);
  const files: ArchivedFile[] = [];
  for (let start = 0; start < shown.length; start += READS_AT_ONCE) {
    options.signal.throwIfAborted();
    const batch = shown.slice(start, start + READS_AT_ONCE);
    const described = await Promise.all(batch.map((name) => describe(cluster, name, options)));
    files.push(...described.filter((file) => file !== undefined));
  }
  return { files, next: names.length > options.limit ? (shown.at(-1) ?? null) : null };
}

/** `undefined` when it was removed meanwhile. */
async function describe(
  cluster: ClusterArchive,
  text: string,
  options: Signalled,
): Promise<ArchivedFile | undefined> {
  const name = parseWalName(text);
  if (name === undefined) throw new Error(`the catalog holds "${text}"`);
  const [stored, metadata] = await Promise.all([
    cluster.store.stat(walKey(cluster.name, name), options),
    storedMetadata(cluster, name, options),
  ]);
  if (stored === undefined || metadata === undefined) return undefined;
  const { storedBytes } = stored;
  if (metadata === "damaged") {
    return {
      name: text,
      kind: name.kind,
      sizeBytes: null,
      storedBytes,
      sha256: null,
      archivedAt: null,
    };
  }
  const { sizeBytes, sha256, archivedAt } = metadata;
  return { name: text, kind: name.kind, sizeBytes, storedBytes, sha256, archivedAt };
}
