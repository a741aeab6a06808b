/**
 * A cluster's binding: the identity that its WAL must have. It is learned once, from the
 * configuration, from what the first caller says or from the first segment, and never changes.
 */
import { WalarcError } from "../errors.ts";
import type { Signalled, Store } from "../store/store.ts";
import { bindingKey } from "./keys.ts";

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

export async function readBinding(
  store: Store,
  cluster: string,
  options: Signalled,
): Promise<Binding> {
  await using object = await store.open(bindingKey(cluster), options);
  if (object === undefined) return UNBOUND;
  const bytes = await object.read(0, Math.min(object.storedBytes, BINDING_BYTES_MAX));
  return parseBinding(bytes.toString(), cluster);
}

function parseBinding(text: string, cluster: string): Binding {
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
  throw new WalarcError("corrupt", `the binding of cluster "${cluster}" is damaged`, {
    hint: `restore ${bindingKey(cluster)} in the store, or remove it: the next push binds anew`,
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

/** Durable when it resolves. */
export async function writeBinding(
  store: Store,
  cluster: string,
  options: Signalled & { binding: Binding },
): Promise<void> {
  const bytes = Buffer.from(`${JSON.stringify(options.binding)}\n`);
  await store.replace(bindingKey(cluster), bytes, options);
}
