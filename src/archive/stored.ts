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

/**
 * `undefined` when nothing is stored. Existence proves nothing, so the object is read whole. It is
 * opened once: of two readings each could be damaged in another way, and both together would be
 * taken for an object that tells nothing, whose place any content may take.
 */
export async function inspectStored(
  cluster: ClusterArchive,
  name: WalName,
  options: Signalled,
): Promise<StoredState | undefined> {
  const object = await cluster.store.open(walKey(cluster.name, name), options);
  if (object === undefined) return undefined;
  await using stack = new AsyncDisposableStack();
  stack.use(object);
  const { notedSha256 } = object;
  const metadata = await metadataIn(object, name);
  if (metadata === "another's") return { sha256: notedSha256, isWhole: false };
  if (metadata === "damaged") {
    return { sha256: notedSha256 ?? (await digestOfFrame(object)), isWhole: false };
  }
  stack.move(); // From here on it is the verification's to close.
  try {
    await using verified = await verifyObject(object, {
      name: name.text,
      budget: cluster.budget,
      proof: "content",
    });
    return { sha256: verified.metadata.sha256, isWhole: true };
  } catch (error) {
    if (!isFailure(error, "corrupt")) throw error;
    return { sha256: notedSha256 ?? metadata.sha256, isWhole: false };
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
  const key = walKey(cluster.name, name);
  const object = await cluster.store.open(key, { ...options, extent: "end" });
  if (object === undefined) return undefined;
  await using opened = object;
  const metadata = await metadataIn(opened, name);
  return metadata === "another's" ? "damaged" : metadata;
}

/** Whether they can be believed, and are of this very file. */
async function metadataIn(
  object: OpenObject,
  name: WalName,
): Promise<ObjectMetadata | "damaged" | "another's"> {
  try {
    const { metadata } = await readMetadata(object);
    return metadata.name === name.text ? metadata : "another's";
  } catch (error) {
    if (isFailure(error, "corrupt")) return "damaged";
    throw error;
  }
}
