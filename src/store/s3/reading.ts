/** Objects as they are read back: whole ones from memory, large ones piece by piece. */
import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { WalarcError } from "../../errors.ts";
import type { MemoryBudget } from "../../object/verify.ts";
import type { OpenObject, Signalled } from "../store.ts";
import { digestToCheck, notedDigest } from "./creation.ts";
import { BrokenAnswer, isAbsent, requireEtag } from "./failure.ts";
import type { Retries } from "./retries.ts";
import type { Found } from "./wire.ts";

const MB = 1024 * 1024;
/** Objects up to this size are read in one request. */
const WHOLE_BYTES_MAX = 32 * MB;
const WINDOW_BYTES = 8 * MB;

/**
 * The object at a key, or `undefined`. One request for all of it, unless it is very large or memory
 * is scarce. Rejects with `store-failed`, and with `corrupt` when an object that has nothing else
 * to prove it (a state object) is not what was put.
 */
export async function openObject(
  retries: Retries,
  key: string,
  { budget, signal }: Signalled & { budget: MemoryBudget },
): Promise<OpenObject | undefined> {
  const options = { signal, sizeBytes: WHOLE_BYTES_MAX };
  return await retries.run(
    `open "${key}"`,
    async (attempt) => {
      try {
        return await attempt.request("get", async (bucket) => {
          const found = requireEtag(await bucket.get(key, { signal: attempt.signal }));
          const sizeBytes = found.sizeBytes ?? WHOLE_BYTES_MAX;
          if (sizeBytes > WHOLE_BYTES_MAX || !budget.take(sizeBytes)) {
            found.body.destroy();
            return new PiecemealObject(retries, { key, found });
          }
          return await wholeObject(key, { found, sizeBytes, budget });
        });
      } catch (error) {
        if (isAbsent(error)) return undefined;
        throw error;
      }
    },
    options,
  );
}

async function wholeObject(
  key: string,
  options: { found: Found & { body: Readable }; sizeBytes: number; budget: MemoryBudget },
): Promise<OpenObject> {
  const { found, sizeBytes, budget } = options;
  using stack = new DisposableStack();
  stack.defer(() => budget.giveBack(sizeBytes));
  const bytes = await collect(found.body, sizeBytes);
  if (found.sizeBytes !== undefined) requireSize(bytes, found.sizeBytes);
  const digest = digestToCheck(found);
  if (digest !== undefined && digest !== createHash("sha256").update(bytes).digest("hex")) {
    throw new BrokenAnswer("the object is not what was put", { isDamage: true });
  }
  return new WholeObject(key, { found, bytes, memory: stack.move() });
}

/**
 * Never more than `sizeBytesMax`; less when the body ends before. By events, because an iterator
 * would cost a fifth more.
 */
async function collect(body: Readable, sizeBytesMax: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(sizeBytesMax);
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  let end = 0;
  body.on("data", (chunk: Buffer) => {
    if (end + chunk.length > sizeBytesMax) {
      body.destroy(new BrokenAnswer("its body is too long"));
      return;
    }
    bytes.set(chunk, end);
    end += chunk.length;
  });
  body.once("end", () => resolve(bytes.subarray(0, end)));
  body.once("error", reject);
  body.once("close", () => reject(new BrokenAnswer("its body is cut")));
  return await promise;
}

function requireSize(bytes: Buffer, sizeBytes: number): void {
  if (bytes.length === sizeBytes) return;
  throw new BrokenAnswer(`its body ends at byte ${bytes.length} of ${sizeBytes}`);
}

class WholeObject implements OpenObject {
  readonly storedBytes: number;
  readonly notedSha256: string | undefined;
  readonly #key: string;
  readonly #memory: Disposable;
  #bytes: Buffer;

  constructor(key: string, parts: { found: Found; bytes: Buffer; memory: Disposable }) {
    this.#key = key;
    this.#bytes = parts.bytes;
    this.#memory = parts.memory;
    this.storedBytes = parts.bytes.length;
    this.notedSha256 = notedDigest(parts.found);
  }

  async read(position: number, length: number): Promise<Buffer> {
    requireWithin(this.#key, this.storedBytes, position + length);
    return this.#bytes.subarray(position, position + length);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#bytes = Buffer.alloc(0);
    this.#memory[Symbol.dispose]();
  }
}

/** Read through a window that moves on with the reader. */
export class PiecemealObject implements OpenObject {
  readonly storedBytes: number;
  readonly notedSha256: string | undefined;
  readonly #retries: Retries;
  readonly #key: string;
  readonly #etag: string | undefined;
  readonly #closed = new AbortController();
  #window: { readonly start: number; readonly bytes: Buffer } = {
    start: 0,
    bytes: Buffer.alloc(0),
  };

  constructor(retries: Retries, { key, found }: { key: string; found: Found }) {
    if (found.sizeBytes === undefined) throw new BrokenAnswer("it does not tell the object's size");
    this.#retries = retries;
    this.#key = key;
    this.#etag = found.etag;
    this.storedBytes = found.sizeBytes;
    this.notedSha256 = notedDigest(found);
  }

  async read(position: number, length: number): Promise<Buffer> {
    requireWithin(this.#key, this.storedBytes, position + length);
    const { start, bytes } = this.#window;
    const isInside = position >= start && position + length <= start + bytes.length;
    if (!isInside) await this.#move(position, length);
    const offset = position - this.#window.start;
    return this.#window.bytes.subarray(offset, offset + length);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(new Error("the object is closed"));
    this.#window = { start: 0, bytes: Buffer.alloc(0) };
  }

  async #move(start: number, length: number): Promise<void> {
    const size = Math.min(Math.max(length, WINDOW_BYTES), this.storedBytes - start);
    const range = `bytes=${start}-${start + size - 1}`;
    const bytes = await this.#retries.run(
      `read "${this.#key}"`,
      (attempt) => {
        return attempt.request("get", async (bucket) => {
          const { signal } = attempt;
          const same = this.#etag === undefined ? {} : { ifMatch: this.#etag };
          const found = requireEtag(await bucket.get(this.#key, { range, ...same, signal }));
          const body = await collect(found.body, size);
          requireSize(body, size);
          return body;
        });
      },
      { signal: this.#closed.signal, sizeBytes: size },
    );
    this.#window = { start, bytes };
  }
}

function requireWithin(key: string, sizeBytes: number, end: number): void {
  if (end <= sizeBytes) return;
  throw new WalarcError("corrupt", `"${key}" ends at byte ${sizeBytes}, too early`);
}
