import type { Store } from "../../src/store/store.ts";

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
