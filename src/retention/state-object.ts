/** Small JSON objects in the store: restart points, holds, the time of service. */
import { isFailure, WalarcError } from "../errors.ts";
import type { ReadableStore, Signalled, Store } from "../store/store.ts";
import { clusterAt, nameAt } from "./keys.ts";

/** Bumped when an older walarc could misread what a newer one wrote. */
const FORMAT = 1;
const BYTES_MAX = 1024 * 1024;
const READS_AT_ONCE = 4;

export type Fields = Readonly<Record<string, unknown>>;

/** Makes a record of an object's fields, or `undefined` of any that do not fit. */
export type Parse<T> = (fields: Fields) => T | undefined;

/** Resolves to `undefined` when there is none; rejects with `corrupt` when it makes no sense. */
export async function readState<T>(
  store: Pick<ReadableStore, "open">,
  key: string,
  options: Signalled & { parse: Parse<T> },
): Promise<T | undefined> {
  await using object = await store.open(key, options);
  if (object === undefined) return undefined;
  const bytes = await object.read(0, Math.min(object.storedBytes, BYTES_MAX));
  const fields = fieldsOf(bytes.toString());
  const state = fields?.["format"] === FORMAT ? options.parse(fields) : undefined;
  if (state !== undefined) return state;
  throw new WalarcError("corrupt", `${key} cannot be understood`, {
    hint: "look at it in the store; nothing is removed as long as it stands there like this",
  });
}

/** Durable when it resolves. */
export async function writeState(
  store: Pick<Store, "replace">,
  key: string,
  options: Signalled & { fields: Fields },
): Promise<void> {
  await store.replace(key, bytesOf(options.fields), options);
}

/** The same where nothing stands yet; of many that try at once, one creates it. */
export async function createState(
  store: Pick<Store, "stage">,
  key: string,
  options: Signalled & { fields: Fields },
): Promise<"created" | "exists"> {
  await using staged = await store.stage(clusterAt(key), options);
  await staged.write(bytesOf(options.fields));
  return await staged.publish(key, options);
}

function bytesOf(fields: Fields): Buffer {
  return Buffer.from(`${JSON.stringify({ format: FORMAT, ...fields })}\n`);
}

/**
 * All states under a prefix by name. What cannot be understood is `"damaged"`, and so is whatever
 * else lies there, under the name that it has: nobody knows what it was meant to claim.
 */
export async function readStates<T>(
  store: Pick<ReadableStore, "open" | "list">,
  prefix: string,
  options: Signalled & { parse: Parse<T> },
): Promise<Map<string, T | "damaged">> {
  const found: { name: string; key: string | undefined }[] = [];
  for await (const { key } of store.list(prefix, options)) {
    const name = nameAt(prefix, key);
    if (name === undefined) found.push({ name: key.slice(prefix.length), key: undefined });
    else found.push({ name, key });
  }
  const states = new Map<string, T | "damaged">();
  for (let start = 0; start < found.length; start += READS_AT_ONCE) {
    const batch = found.slice(start, start + READS_AT_ONCE).map(async ({ name, key }) => {
      const state = key === undefined ? "damaged" : await readOrDamaged(store, key, options);
      if (state !== undefined) states.set(name, state);
    });
    await Promise.all(batch);
  }
  return states;
}

/** `undefined` when it was removed meanwhile. */
async function readOrDamaged<T>(
  store: Pick<ReadableStore, "open">,
  key: string,
  options: Signalled & { parse: Parse<T> },
): Promise<T | "damaged" | undefined> {
  try {
    return await readState(store, key, options);
  } catch (error) {
    if (isFailure(error, "corrupt")) return "damaged";
    throw error;
  }
}

function fieldsOf(text: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Fields) : undefined;
  } catch {
    return undefined; // Reported by the caller: broken JSON and wrong fields are the same damage.
  }
}
