import { randomBytes } from "node:crypto";
import { trailerOf } from "../../src/object/metadata.ts";
import type { Store } from "../../src/store/store.ts";
import { sha256Of } from "../support/wal-maker.ts";

const signal = new AbortController().signal;

/** Stages and publishes in one go. */
export async function put(
  store: Store,
  key: string,
  content: string,
): Promise<"created" | "exists"> {
  const [, cluster = ""] = key.split("/");
  await using staged = await store.stage(cluster, { signal });
  await staged.write(Buffer.from(content));
  return await staged.publish(key, { signal });
}

/** The whole object as text. */
export async function contentOf(store: Store, key: string): Promise<string | undefined> {
  await using object = await store.open(key, { signal });
  return object === undefined ? undefined : String(await object.read(0, object.storedBytes));
}

/** Everything that the listing tells. */
export async function keysOf(
  store: Store,
  { prefix = "clusters/", after }: { prefix?: string; after?: string } = {},
): Promise<string[]> {
  const keys = [];
  const options = after === undefined ? { signal } : { signal, after };
  for await (const { key } of store.list(prefix, options)) keys.push(key);
  return keys;
}

/** A stored object whose metadata tells this digest of its content. */
export function objectOf({ sha256 }: { sha256: string }): Buffer {
  const frame = randomBytes(2000);
  const metadata = {
    name: "000000010000000000000001",
    sha256,
    sizeBytes: 1,
    systemIdentifier: null,
    timeline: 1,
    archivedAt: "2026-01-01T00:00:00Z",
  };
  const ends = { frameBytes: frame.length, frameSha256: sha256Of(frame) };
  return Buffer.concat([frame, trailerOf(metadata, ends)]);
}
