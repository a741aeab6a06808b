import type { Signalled } from "../store.ts";
import { isMissing, verdictOf } from "./failure.ts";
import type { Retries } from "./retries.ts";

/** As many as S3 takes in one request. */
const KEYS_MAX = 1000;
const SINGLE_AT_ONCE = 16;

/** Removing what is not there succeeds. */
export async function removeObject(
  retries: Retries,
  key: string,
  { signal: caller }: Signalled,
): Promise<void> {
  await retries.run(
    `remove "${key}"`,
    async (attempt) => {
      const { signal } = attempt;
      try {
        await attempt.request("delete", (bucket) => bucket.remove(key, { signal }));
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
    },
    { signal: caller },
  );
}

/**
 * Many keys in few requests where the server can, else one by one. What an answer does not name as
 * removed is tried alone, so each key's own refusal is told.
 */
export async function removeObjects(
  retries: Retries,
  keys: readonly string[],
  { signal, removeMany }: Signalled & { removeMany: boolean },
): Promise<void> {
  for (let start = 0; start < keys.length; start += KEYS_MAX) {
    const batch = keys.slice(start, start + KEYS_MAX);
    const isMany = removeMany && batch.length > 1;
    const gone = isMany ? await removeBatch(retries, batch, { signal }) : new Set<string>();
    await removeOneByOne(
      retries,
      batch.filter((key) => !gone.has(key)),
      { signal },
    );
  }
}

/**
 * The keys that are gone; none when the server refuses the request as such. It need not be that it
 * does not know it: Ceph asks a bucket's policy for a right to the whole bucket, though the keys of
 * one prefix are all that we may and want to remove.
 */
export async function removeBatch(
  retries: Retries,
  keys: readonly string[],
  { signal: caller }: Signalled,
): Promise<ReadonlySet<string>> {
  return await retries.run(
    `remove ${keys.length} objects`,
    async (attempt) => {
      const { signal } = attempt;
      try {
        return new Set(
          await attempt.request("delete-many", (bucket) => bucket.removeMany(keys, { signal })),
        );
      } catch (error) {
        if (verdictOf(error) === "never") return new Set<string>();
        throw error;
      }
    },
    { signal: caller },
  );
}

async function removeOneByOne(
  retries: Retries,
  keys: readonly string[],
  options: Signalled,
): Promise<void> {
  for (let start = 0; start < keys.length; start += SINGLE_AT_ONCE) {
    const batch = keys.slice(start, start + SINGLE_AT_ONCE);
    await Promise.all(batch.map((key) => removeObject(retries, key, options)));
  }
}
