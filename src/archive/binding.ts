/**
 * A cluster's binding: the identity that its WAL must have. It is learned once, from the
 * configuration, from what the first caller says or from the first segment, and never changes.
 */
import { isFailure, WalarcError } from "../errors.ts";
import type { Signalled, Store } from "../store/store.ts";
import { bindingKey, formatKey } from "./keys.ts";

export interface Binding {
  /** Decimal. */
  readonly systemIdentifier: string | undefined;
  readonly segmentSizeBytes: number | undefined;
  /** Two majors never share a system identifier: pg_upgrade starts a new cluster. */
  readonly postgresMajor: number | undefined;
}

export const UNBOUND: Binding = {
  systemIdentifier: undefined,
  segmentSizeBytes: undefined,
  postgresMajor: undefined,
};

const BINDING_BYTES_MAX = 4096;

/** Rejects with `corrupt` when it makes no sense. */
export async function readBinding(
  store: Store,
  cluster: string,
  options: Signalled,
): Promise<Binding> {
  return readBindingAt(store, bindingKey(cluster), options);
}

async function readBindingAt(store: Store, key: string, options: Signalled): Promise<Binding> {
  await using object = await store.open(key, options);
  if (object === undefined) return UNBOUND;
  const bytes = await object.read(0, Math.min(object.storedBytes, BINDING_BYTES_MAX));
  return parseBinding(bytes.toString(), key);
}

function parseBinding(text: string, key: string): Binding {
  try {
    const value = JSON.parse(text) as Record<string, unknown>;
    const systemIdentifier = value["systemIdentifier"] ?? undefined;
    const segmentSizeBytes = value["segmentSizeBytes"] ?? undefined;
    const postgresMajor = value["postgresMajor"] ?? undefined;
    if (
      isOptional(systemIdentifier, "string") &&
      isOptional(segmentSizeBytes, "number") &&
      isOptional(postgresMajor, "number")
    ) {
      return { systemIdentifier, segmentSizeBytes, postgresMajor } as Binding;
    }
  } catch {
    // Reported below: to whoever reads it, broken JSON and wrong fields are the same damage.
  }
  throw new WalarcError("corrupt", `the binding "${key}" is damaged`, {
    hint: `restore ${key} in the store, or remove it: the next push binds anew`,
  });
}

function isOptional(value: unknown, type: "string" | "number"): boolean {
  // biome-ignore lint/suspicious/useValidTypeof: the type is a parameter
  return value === undefined || typeof value === type;
}

/** What both know together. Rejects with `rejected` where they disagree. */
export function joinBindings(bound: Binding, found: Binding, cluster: string): Binding {
  const differ = (what: string, one?: string | number, other?: string | number) =>
    new WalarcError(
      "rejected",
      `${what} is ${other}, but cluster "${cluster}" is bound to ${one}`,
      { hint: "is this another PostgreSQL cluster? give it a cluster name of its own" },
    );
  if (isOther(bound.systemIdentifier, found.systemIdentifier)) {
    throw differ("the system identifier", bound.systemIdentifier, found.systemIdentifier);
  }
  if (isOther(bound.segmentSizeBytes, found.segmentSizeBytes)) {
    throw differ("the segment size", bound.segmentSizeBytes, found.segmentSizeBytes);
  }
  if (isOther(bound.postgresMajor, found.postgresMajor)) {
    throw differ("the PostgreSQL major", bound.postgresMajor, found.postgresMajor);
  }
  return {
    systemIdentifier: bound.systemIdentifier ?? found.systemIdentifier,
    segmentSizeBytes: bound.segmentSizeBytes ?? found.segmentSizeBytes,
    postgresMajor: bound.postgresMajor ?? found.postgresMajor,
  };
}

function isOther(bound: string | number | undefined, found: string | number | undefined): boolean {
  return bound !== undefined && found !== undefined && bound !== found;
}

export function isSameBinding(one: Binding, other: Binding): boolean {
  return (
    one.systemIdentifier === other.systemIdentifier &&
    one.segmentSizeBytes === other.segmentSizeBytes &&
    one.postgresMajor === other.postgresMajor
  );
}

/** Resolves to the binding, once it is durable. */
export async function writeBinding(
  store: Store,
  cluster: string,
  options: Signalled & { binding: Binding },
): Promise<Binding> {
  await store.replace(bindingKey(cluster), bytesOf(options.binding), options);
  return options.binding;
}

/**
 * The same where other daemons may bind the cluster at this moment, each to what it has seen: of
 * any fact, the first one counts. Resolves to what they have agreed on, durably; rejects with
 * `rejected` where that is not ours.
 */
export async function agreeOnBinding(
  store: Store,
  cluster: string,
  options: Signalled & { binding: Binding },
): Promise<Binding> {
  const { binding, signal } = options;
  const create = (key: string, binding: Binding) => {
    return isCreated(store, key, { cluster, binding, signal });
  };
  if (await create(bindingKey(cluster), binding)) return binding;
  const stored = await readOrForget(store, bindingKey(cluster), { signal });
  const joined = joinBindings(stored, binding, cluster);
  if (isSameBinding(joined, stored)) return joined;
  // Who bound the cluster had seen no segment yet. Two that see one now may differ.
  const key = formatKey(cluster);
  const format = (await create(key, joined)) ? joined : await readOrForget(store, key, { signal });
  const agreed = joinBindings(format, joined, cluster);
  return writeBinding(store, cluster, { binding: agreed, signal });
}

async function isCreated(
  store: Store,
  key: string,
  options: Signalled & { cluster: string; binding: Binding },
): Promise<boolean> {
  await using staged = await store.stage(options.cluster, options);
  await staged.write(bytesOf(options.binding));
  return (await staged.publish(key, options)) === "created";
}

/** A damaged one binds nobody, as at the start. */
async function readOrForget(store: Store, key: string, options: Signalled): Promise<Binding> {
  try {
    return await readBindingAt(store, key, options);
  } catch (error) {
    if (isFailure(error, "corrupt")) return UNBOUND;
    throw error;
  }
}

function bytesOf(binding: Binding): Buffer {
  return Buffer.from(`${JSON.stringify(binding)}\n`);
}
