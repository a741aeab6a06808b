/** The digest of what stands in memory as a whole, without holding the event loop. */
import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { Worker } from "node:worker_threads";

/** Half a millisecond. */
const SLICE_BYTES = 512 * 1024;
/** Telling another thread costs more than hashing less than this. */
const WORTH_TELLING_BYTES = 1024 * 1024;
/** A thousand times what 16 MB take; then it is done here. */
const DEADLINE_MS = 10_000;
/** A thread that is not needed any more ends. */
const KEPT_MS = 10_000;
/** One that has failed is not followed by another at once. */
const PAUSE_MS = 60_000;

/** It holds nothing of its own. */
const SMALL = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 };

const DIGEST = /^[0-9a-f]{64}$/;

/** Of the thread: plain JavaScript, which runs from the sources as from the bundle. */
const CODE = `
  const { createHash } = require("node:crypto");
  const { parentPort } = require("node:worker_threads");
  parentPort.on("message", ({ number, bytes }) => {
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    parentPort.postMessage({ number, sha256 });
  });
`;

interface Answer {
  readonly number: number;
  readonly sha256: string;
}

/**
 * Hashes memory that threads share in a thread of its own: for 16 MB the loop has other things to
 * do for 11 ms. Whatever happens to that thread, there is a digest: without it, it is made here.
 */
export class Hasher {
  readonly #code: string;
  readonly #deadlineMs: number;
  readonly #waiting = new Map<number, (sha256: string | undefined) => void>();
  #worker: Worker | undefined;
  #number = 0;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #release: NodeJS.Timeout | undefined;

  constructor(options: { code?: string; deadlineMs?: number } = {}) {
    this.#code = options.code ?? CODE;
    this.#deadlineMs = options.deadlineMs ?? DEADLINE_MS;
  }

  /** Hex. The bytes must not change until it resolves. */
  async sha256(plain: Buffer): Promise<string> {
    const isShared = plain.buffer instanceof SharedArrayBuffer;
    const isTold = isShared && plain.length >= WORTH_TELLING_BYTES;
    return (isTold ? await this.#told(plain) : undefined) ?? (await inSlices(plain));
  }

  /** `undefined` where the thread does not answer. */
  async #told(plain: Buffer): Promise<string | undefined> {
    const worker = this.#started();
    if (worker === undefined) return undefined;
    const number = (this.#number += 1);
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    this.#waiting.set(number, resolve);
    const deadline = setTimeout(() => this.#failed(worker), this.#deadlineMs);
    try {
      worker.postMessage({ number, bytes: plain }, []);
      const sha256 = await promise;
      return sha256 !== undefined && DIGEST.test(sha256) ? sha256 : undefined;
    } finally {
      clearTimeout(deadline);
      this.#waiting.delete(number);
    }
  }

  #started(): Worker | undefined {
    clearTimeout(this.#release);
    this.#release = setTimeout(() => this.#end(), KEPT_MS + this.#deadlineMs).unref();
    if (this.#worker !== undefined) return this.#worker;
    if (performance.now() < this.#notBeforeMs) return undefined;
    const worker = new Worker(this.#code, { eval: true, env: {}, resourceLimits: SMALL });
    worker.unref();
    worker.on("message", ({ number, sha256 }: Answer) => this.#waiting.get(number)?.(sha256));
    worker.on("error", () => this.#failed(worker));
    worker.on("exit", () => this.#failed(worker));
    this.#worker = worker;
    return worker;
  }

  #failed(worker: Worker): void {
    if (this.#worker !== worker) return;
    this.#notBeforeMs = performance.now() + PAUSE_MS;
    this.#end();
  }

  #end(): void {
    const worker = this.#worker;
    this.#worker = undefined;
    for (const answer of this.#waiting.values()) answer(undefined);
    void worker?.terminate();
  }
}

async function inSlices(plain: Buffer): Promise<string> {
  const hash = createHash("sha256");
  for (let at = 0; at < plain.length; at += SLICE_BYTES) {
    if (at > 0) await setImmediate();
    hash.update(plain.subarray(at, at + SLICE_BYTES));
  }
  return hash.digest("hex");
}
