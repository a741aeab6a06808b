/** Looking at what is stored under a name without serving it. */
import { isFailure } from "../errors.ts";
import type { ObjectMetadata } from "../object/metadata.ts";
import { digestOfFrame, readMetadata, verifyObject } from "../object/verify.ts";
import type { OpenObject, Signalled } from "../store/store.ts";
import type { WalName } from "../wal/name.ts";
import type { ClusterArchive } from "./cluster.ts";
import { walKey } from "./keys.ts";

export interface StoredState {
  /** Digest of the plain bytes, or `undefined` when not even that can be read. */
  readonly sha256: string | undefined;
  /** Every byte was read and agrees with the digest. */
  readonly isWhole: boolean;
}

/** `undefined` when nothing is stored. Existence proves nothing, so the object is read whole. */
export async function inspectStored(
  cluster: ClusterArchive,
  name: WalName,
  options: Signalled,
): Promise<StoredState | undefined> {
  const metadata = await storedMetadata(cluster, name, options);
  if (metadata === undefined) return undefined;
  if (metadata === "damaged") return await inspectDamaged(cluster, name, options);
  const object = await cluster.store.open(walKey(cluster.name, name), options);
  if (object === undefined) return undefined;
  try {
    await using verified = await verifyObject(object, { name: name.text, budget: cluster.budget });
    return { sha256: verified.metadata.sha256, isWhole: true };
  } catch (error) {
    if (!isFailure(error, "corrupt")) throw error;
    return { sha256: metadata.sha256, isWhole: false };
  }
}

/** What the content still says where the metadata are lost, or are those of another file. */
async function inspectDamaged(
  cluster: ClusterArchive,
  name: WalName,
  options: Signalled,
): Promise<StoredState> {
  await using object = await cluster.store.open(walKey(cluster.name, name), options);
  const isOther = object !== undefined && (await isReadable(object));
  if (object === undefined || isOther) return { sha256: undefined, isWhole: false };
  return { sha256: await digestOfFrame(object), isWhole: false };
}

async function isReadable(object: OpenObject): Promise<boolean> {
  try {
    await readMetadata(object);
    return true;
  } catch (error) {
    if (isFailure(error, "corrupt")) return false;
    throw error;
  }
}

/**
 * The metadata alone, `undefined` when nothing is stored, "damaged" when they can't be believed.
 */
export async function storedMetadata(
  cluster: ClusterArchive,
  name: WalName,
  options: Signalled,
): Promise<ObjectMetadata | "damaged" | undefined> {
  await using object = await cluster.store.open(walKey(cluster.name, name), options);
  if (object === undefined) return undefined;
  try {
    const { metadata } = await readMetadata(object);
    return metadata.name === name.text ? metadata : "damaged";
  } catch (error) {
    if (isFailure(error, "corrupt")) return "damaged";
    throw error;
  }
}
