/** Takes files of another archive over, one request after the other, several at once. */
import { createHash } from "node:crypto";
import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { describeServer, type Endpoint } from "../client/connection.ts";
import { exchange, type HttpAnswer } from "../client/exchange.ts";
import { failureIn } from "../client/problem.ts";
import { type FailureCode, WalarcError } from "../errors.ts";
import { type Content, openContent } from "./content.ts";
import type { ImportFile } from "./source.ts";

export interface ImportOptions {
  readonly endpoint: Endpoint;
  readonly cluster: string;
  /** Of one request. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Told after each file. */
  readonly onProgress: (tally: ImportTally) => void;
}

export interface ImportTally {
  imported: number;
  alreadyArchived: number;
  /** Plain bytes of both. */
  bytes: number;
  readonly refused: {
    readonly file: string;
    readonly code: FailureCode;
    readonly detail: string;
  }[];
}

const FILES_AT_ONCE = 4;
/** What the archive says of this one file; the others may still be welcome. */
const REFUSALS: ReadonlySet<FailureCode> = new Set(["conflict", "rejected", "local", "corrupt"]);
/** What may pass. */
const PASSING: ReadonlySet<FailureCode> = new Set(["unreachable", "store-failed"]);
/** The archive may be away for so long, as in a restart of the daemon. */
const PATIENCE_MS = 60_000;
const RETRY_MS = 500;
const RETRY_MS_MAX = 5000;
const BUFFER_BYTES = 1024 * 1024;

/**
 * Imports the files in their order. What the archive refuses is noted, and the others go on.
 * Rejects when the archive takes nothing for a minute, or does not let us: then all that was noted
 * so far is true, and another run goes on from there.
 */
export async function runImport(
  files: Iterable<ImportFile>,
  options: ImportOptions & { tally: ImportTally },
): Promise<void> {
  const queue = files[Symbol.iterator]();
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, options.signal]);
  const worker = async (): Promise<void> => {
    for (let next = queue.next(); next.done !== true; next = queue.next()) {
      signal.throwIfAborted();
      await importPatiently(next.value, { ...options, signal });
      options.onProgress(options.tally);
    }
  };
  const workers = Array.from({ length: FILES_AT_ONCE }, async () => {
    try {
      await worker();
    } catch (error) {
      stop.abort(error);
      throw error;
    }
  });
  const ends = await Promise.allSettled(workers);
  const failed = ends.find((end) => end.status === "rejected");
  if (failed !== undefined) throw stop.signal.reason ?? failed.reason;
}

async function importPatiently(
  file: ImportFile,
  options: ImportOptions & { tally: ImportTally },
): Promise<void> {
  const { tally, signal } = options;
  const endMs = performance.now() + PATIENCE_MS;
  for (let retryMs = RETRY_MS; ; retryMs = Math.min(retryMs * 2, RETRY_MS_MAX)) {
    try {
      using content = await openContent(file);
      const outcome = await importOne(file, content, options);
      tally[outcome] += 1;
      tally.bytes += content.sizeBytes;
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof WalarcError)) throw error;
      if (REFUSALS.has(error.code)) {
        tally.refused.push({ file: file.path, code: error.code, detail: error.message });
        return;
      }
      const isTooLate = performance.now() + retryMs > endMs;
      if (!PASSING.has(error.code) || isTooLate) throw error;
      await delay(retryMs, undefined, { signal });
    }
  }
}

/** What is archived already is not sent again: its digest is compared with the file's. */
async function importOne(
  file: ImportFile,
  content: Content,
  options: ImportOptions,
): Promise<"imported" | "alreadyArchived"> {
  const { endpoint, cluster } = options;
  const path = `/v1/clusters/${cluster}/wal/${file.name.text}`;
  const where = describeServer(endpoint.address);
  const found = await ask({ method: "HEAD", path }, options);
  const archived = found.status === 200 ? found.headers.get("walarc-sha256") : undefined;
  // Where they differ the push tells so, and keeps what it refuses.
  if (archived !== undefined && archived === digestOf(content)) return "alreadyArchived";

  const sha256 = createHash("sha256");
  const read = content.reader();
  const body = {
    sizeBytes: content.sizeBytes,
    read: (buffer: Buffer) => {
      const count = read(buffer);
      sha256.update(buffer.subarray(0, count));
      return count;
    },
  };
  const answer = await ask({ method: "PUT", path, body }, options);
  if (answer.status !== 200 && answer.status !== 201) {
    throw failureIn(answer, where, ["absent", "gap"]);
  }
  const sent = sha256.digest("hex");
  if (!answer.isRequestSent || answer.headers.get("walarc-sha256")?.toLowerCase() !== sent) {
    const why = `${where}: status ${answer.status} without proof that the file is stored`;
    throw new WalarcError("unreachable", why);
  }
  return answer.status === 201 ? "imported" : "alreadyArchived";
}

async function ask(
  request: { method: "HEAD" | "PUT"; path: string; body?: Parameters<typeof exchange>[1]["body"] },
  { endpoint, timeoutMs, signal }: ImportOptions,
): Promise<HttpAnswer> {
  const end = new AbortController();
  const follow = () => end.abort(signal.reason);
  signal.addEventListener("abort", follow, { once: true });
  const timer = setTimeout(() => {
    const why = `${describeServer(endpoint.address)}: no answer within ${timeoutMs / 1000} s`;
    end.abort(new WalarcError("unreachable", why));
  }, timeoutMs);
  try {
    return await exchange(endpoint, { ...request, signal: end.signal });
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", follow);
  }
}

function digestOf(content: Content): string {
  const sha256 = createHash("sha256");
  const read = content.reader();
  const buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  for (let count = read(buffer); count > 0; count = read(buffer)) {
    sha256.update(buffer.subarray(0, count));
  }
  return sha256.digest("hex");
}
