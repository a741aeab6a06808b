/** One push: from a body to an acknowledged WAL file. */
import { isFailure, WalarcError } from "../errors.ts";
import { freeFrame } from "../object/compression.ts";
import { encodeObject, type PlainDigest } from "../object/encode.ts";
import type { ObjectMetadata } from "../object/metadata.ts";
import type { SentFrame } from "../object/sent-frame.ts";
import type { StagedObject } from "../store/store.ts";
import type { TimelineHistory } from "../wal/history.ts";
import type { WalName } from "../wal/name.ts";
import { type Binding, joinBindings, UNBOUND } from "./binding.ts";
import { checkBody, checkLength } from "./checks.ts";
import type { ClusterArchive } from "./cluster.ts";
import { conflictKey, walKey } from "./keys.ts";
import { inspectStored } from "./stored.ts";

export interface PushOptions {
  /** Length of the body where the caller told it. */
  readonly sizeBytes?: number | undefined;
  /** Where the body comes from, when it was sent compressed. */
  readonly sent?: SentFrame | undefined;
  /** Hex digest that the plain bytes must have. */
  readonly sha256?: string | undefined;
  /** Decimal; the cluster's identity as the caller knows it. */
  readonly systemIdentifier?: string | undefined;
  readonly signal: AbortSignal;
}

/**
 * `kept-aside`: another content of a `.partial`, kept under `conflicts/`. Two promotions can
 * rightly leave differing ones, and nothing ever reads them back, so the archiver is not held up.
 */
export type PushOutcome = "archived" | "already-archived" | "kept-aside";

export interface PushResult extends PlainDigest {
  readonly outcome: PushOutcome;
  /** Size of the archived object that this push made; 0 with any outcome but `archived`. */
  readonly storedBytes: number;
  /** It was durable before it was asked for. */
  readonly isAhead?: true;
}

/** A body that was read to its end, checked and staged. Disposed, it makes room for the next. */
interface ReadBody extends AsyncDisposable {
  /** As far as the catalog knew when it began. */
  readonly isNew: boolean;
  readonly digest: PlainDigest;
  readonly binding: Binding;
  readonly history: TimelineHistory | undefined;
  readonly metadata: ObjectMetadata;
  /** `undefined` where the store could not take it. */
  readonly staged: StagedObject | undefined;
  /** Bytes staged. */
  readonly storedBytes: number;
  readonly storeFailure: unknown;
}

/**
 * Resolves only when the WAL file is durable in the store. PostgreSQL pushes again after a crash,
 * so the same bytes again are a success, even on a full store; other bytes under the same name mean
 * two servers where one should be, and are never accepted.
 */
export async function pushWalFile(
  cluster: ClusterArchive,
  name: WalName,
  body: AsyncIterable<Buffer>,
  options: PushOptions,
): Promise<PushResult> {
  await using read = await receive(cluster, name, body, options);
  const published = read.isNew ? await publishNew(cluster, name, read, options.signal) : undefined;
  return resultOf(
    read,
    published ?? (await compareWithStored(cluster, name, read, options.signal)),
  );
}

/**
 * As `pushWalFile`, of a file that nobody has asked to be archived yet. A name that is archived
 * already is left alone, whatever its content: `undefined`.
 */
export async function pushAhead(
  cluster: ClusterArchive,
  name: WalName,
  body: AsyncIterable<Buffer>,
  options: PushOptions,
): Promise<PushResult | undefined> {
  await cluster.loaded(options);
  if (cluster.catalog.holds(name)) return undefined;
  await using read = await receive(cluster, name, body, options);
  const outcome = await publishNew(cluster, name, read, options.signal);
  return outcome === undefined ? undefined : resultOf(read, outcome);
}

function resultOf(read: ReadBody, outcome: PushOutcome): PushResult {
  const { digest, storedBytes } = read;
  return { ...digest, outcome, storedBytes: outcome === "archived" ? storedBytes : 0 };
}

/** What every push does before anything becomes visible: checks, reads, stages and binds. */
async function receive(
  cluster: ClusterArchive,
  name: WalName,
  body: AsyncIterable<Buffer>,
  options: PushOptions,
): Promise<ReadBody> {
  const { signal } = options;
  await cluster.loaded({ signal });
  const told = { ...UNBOUND, systemIdentifier: options.systemIdentifier };
  const binding = joinBindings(cluster.binding, told, cluster.name);
  checkLength(name, { cluster: cluster.name, binding, sizeBytes: options.sizeBytes });
  await using stack = new AsyncDisposableStack();
  stack.use(await cluster.pushes.enter({ signal }));
  stack.use(await cluster.pushesInAll.enter({ signal }));

  // Whether the name is free is what publishing decides. Asking the store now would be a request.
  const isNew = !cluster.catalog.holds(name);
  const read = await readBody(cluster, name, body, { ...options, binding, stack, isNew });
  requireDigest(name, read.digest, options.sha256);
  await cluster.bind(read.binding, { signal });
  const owned = stack.move();
  return { ...read, isNew, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/**
 * Reads and stages the body. Where the name is archived already, a store that cannot take another
 * object is no failure yet: if the content is the same, nothing needs to be stored.
 */
async function readBody(
  cluster: ClusterArchive,
  name: WalName,
  body: AsyncIterable<Buffer>,
  options: PushOptions & { binding: Binding; stack: AsyncDisposableStack; isNew: boolean },
): Promise<Omit<ReadBody, "isNew" | typeof Symbol.asyncDispose>> {
  let found: { binding: Binding; history: TimelineHistory | undefined } | undefined;
  let digest: PlainDigest | undefined;
  let metadata: ObjectMetadata | undefined;
  const checked = checkBody(name, body, {
    cluster: cluster.name,
    binding: options.binding,
    sizeBytes: options.sizeBytes,
    found: (findings) => {
      found = findings;
    },
  });
  const encoded = encodeObject(checked, {
    compressionLevel: cluster.compressionLevel,
    sizeBytes: options.sizeBytes,
    sent: options.sent,
    describe: (plain) => {
      digest = plain;
      const known = joinBindings(options.binding, found?.binding ?? UNBOUND, cluster.name);
      metadata = {
        name: name.text,
        ...plain,
        systemIdentifier: known.systemIdentifier ?? null,
        timeline: name.timeline,
        archivedAt: new Date().toISOString(),
      };
      return metadata;
    },
  });
  const stage = await stageAll(cluster, encoded, options);
  if (found === undefined || digest === undefined || metadata === undefined) {
    throw new Error(`${name.text} was read without being checked`);
  }
  const binding = joinBindings(options.binding, found.binding, cluster.name);
  return { digest, metadata, binding, history: found.history, ...stage };
}

async function stageAll(
  cluster: ClusterArchive,
  encoded: AsyncIterable<Buffer>,
  options: { signal: AbortSignal; stack: AsyncDisposableStack; isNew: boolean },
): Promise<Pick<ReadBody, "staged" | "storedBytes" | "storeFailure">> {
  const { signal, stack, isNew } = options;
  let staged: StagedObject | undefined;
  let storedBytes = 0;
  let storeFailure: unknown;
  const tolerate = (error: unknown) => {
    if (isNew || !isFailure(error, "store-failed")) throw error;
    staged = undefined;
    storeFailure = error;
  };
  for await (const bytes of encoded) {
    signal.throwIfAborted();
    if (storeFailure !== undefined) continue;
    try {
      staged ??= stack.use(await cluster.store.stage(cluster.name, { signal }));
      await staged.write(bytes);
      storedBytes += bytes.length;
      // Only after a write that has ended well is it sure that no thread still reads it.
      freeFrame(bytes);
    } catch (error) {
      tolerate(error);
    }
  }
  return { staged, storedBytes, storeFailure };
}

function requireDigest(name: WalName, digest: PlainDigest, expected: string | undefined): void {
  if (expected === undefined || expected.toLowerCase() === digest.sha256) return;
  throw new WalarcError(
    "rejected",
    `the body of ${name.text} has sha256 ${digest.sha256}, but Walarc-Sha256 says ${expected}`,
    { hint: "was it changed on its way? push it again" },
  );
}

/** `undefined` when another push of the name came first. */
async function publishNew(
  cluster: ClusterArchive,
  name: WalName,
  read: ReadBody,
  signal: AbortSignal,
): Promise<PushOutcome | undefined> {
  if (read.staged === undefined) throw read.storeFailure;
  const key = walKey(cluster.name, name);
  if ((await read.staged.publish(key, { signal })) === "exists") return undefined;
  cluster.archived(name, { ...read, isRepair: false });
  return "archived";
}

async function compareWithStored(
  cluster: ClusterArchive,
  name: WalName,
  read: ReadBody,
  signal: AbortSignal,
): Promise<PushOutcome> {
  const key = walKey(cluster.name, name);
  const stored = await inspectStored(cluster, name, { signal });
  if (stored === undefined) {
    const outcome = await publishNew(cluster, name, read, signal);
    if (outcome !== undefined) return outcome;
    throw new WalarcError("store-failed", `${name.text} appeared and vanished while it was pushed`);
  }
  if (stored.sha256 !== undefined && stored.sha256 !== read.digest.sha256) {
    return refuseConflict(cluster, name, { ...read, storedSha256: stored.sha256, signal });
  }
  if (stored.isWhole) {
    await cluster.store.settle(key, { signal });
    cluster.seen(name, read.history);
    return "already-archived";
  }
  if (read.staged === undefined) throw read.storeFailure;
  await read.staged.repair(key, { signal });
  cluster.log.warn({ cluster: cluster.name, wal: name.text }, "damaged object repaired by a push");
  cluster.archived(name, { ...read, isRepair: true });
  return "archived";
}

async function refuseConflict(
  cluster: ClusterArchive,
  name: WalName,
  options: ReadBody & { storedSha256: string; signal: AbortSignal },
): Promise<PushOutcome> {
  const { digest, staged, storeFailure, storedSha256, signal } = options;
  const kept = await keepConflict(cluster, name, { digest, staged, signal });
  cluster.conflicts += 1;
  cluster.log.warn(
    { cluster: cluster.name, wal: name.text, sha256: digest.sha256, storedSha256, kept },
    "second content of a WAL file refused",
  );
  if (name.kind === "partial") {
    if (kept) return "kept-aside";
    throw storeFailure;
  }
  throw new WalarcError(
    "conflict",
    // Of what is archived only the log tells: who may push need not be one who may read.
    `cluster "${cluster.name}" holds ${name.text} with another content than was pushed ` +
      `(sha256 ${digest.sha256}); nothing was changed` +
      (kept ? ", the pushed content is kept under conflicts/" : ""),
    {
      hint:
        "do two servers archive into this cluster, was one set back to an older state, or was " +
        "the file pushed by hand before PostgreSQL had finished it?",
    },
  );
}

/** Whether the refused content is durable under `conflicts/`. */
async function keepConflict(
  cluster: ClusterArchive,
  name: WalName,
  options: { digest: PlainDigest; staged: StagedObject | undefined; signal: AbortSignal },
): Promise<boolean> {
  const { digest, staged, signal } = options;
  if (staged === undefined) return false;
  try {
    await staged.publish(conflictKey(cluster.name, name, digest.sha256), { signal });
    return true;
  } catch (error) {
    // The refusal matters more than the copy, and the caller still has its file.
    if (isFailure(error, "store-failed")) return false;
    throw error;
  }
}
