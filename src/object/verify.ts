/** Reading objects back: nothing is handed out before every stored byte of it was checked. */
import { createHash } from "node:crypto";
import { createZstdDecompress, type ZstdDecompress } from "node:zlib";
import { isFailure } from "../errors.ts";
import type { OpenObject } from "../store/store.ts";
import { BLOCK_BYTES } from "./encode.ts";
import {
  damaged,
  type FrameDigest,
  type ObjectMetadata,
  parseTrailer,
  TRAILER_BYTES_MAX,
} from "./metadata.ts";
import { FrameWalk } from "./zstd-frame.ts";

/** An object that proved to be what was stored. Dispose it. */
export interface VerifiedObject extends AsyncDisposable {
  readonly metadata: ObjectMetadata;
  /** Size of the zstd frame. */
  readonly frameBytes: number;
  /** The zstd frame as stored. */
  frame(): AsyncIterable<Buffer>;
  /** The plain bytes; rejects with `corrupt` before the last of them when their digest is wrong. */
  plain(): AsyncIterable<Buffer>;
}

export interface VerifyOptions {
  readonly name: string;
  readonly budget: MemoryBudget;
  /**
   * `stored`: its bytes agree with the digest taken when they were written. `content`: they also
   * decompress to the content that was pushed, which costs twenty times as much.
   */
  readonly proof: "stored" | "content";
}

/** An object that is no larger is read in one piece, and once only. */
const WHOLE_BYTES_MAX = 32 * 1024 * 1024;

/** Rejects with `corrupt` when the trailer is damaged. Reads the trailer alone. */
export async function readMetadata(
  object: OpenObject,
): Promise<{ metadata: ObjectMetadata } & FrameDigest> {
  const tailBytes = Math.min(object.storedBytes, TRAILER_BYTES_MAX);
  const tail = await object.read(object.storedBytes - tailBytes, tailBytes);
  return parseTrailer(tail, { storedBytes: object.storedBytes });
}

/**
 * Reads the whole object and resolves once it proved to be what was stored; rejects with `corrupt`
 * otherwise. Takes the object over: it is closed on failure, and with the result.
 *
 * The stored bytes are kept in memory as far as `budget` allows, so that what was proven is what is
 * handed out; beyond that they are read and proven a second time.
 */
export async function verifyObject(
  object: OpenObject,
  options: VerifyOptions,
): Promise<VerifiedObject> {
  await using stack = new AsyncDisposableStack();
  stack.use(object);
  const { storedBytes } = object;
  const isKept = storedBytes <= WHOLE_BYTES_MAX && options.budget.take(storedBytes);
  if (isKept) stack.defer(() => options.budget.giveBack(storedBytes));
  const kept = isKept ? await object.read(0, storedBytes) : undefined;

  const found =
    kept === undefined ? await readMetadata(object) : parseTrailer(kept, { storedBytes });
  const { metadata, frameBytes } = found;
  if (metadata.name !== options.name) throw damaged(`it says that it is "${metadata.name}"`);
  const read = () =>
    kept === undefined ? framesOf(object, frameBytes) : each(kept.subarray(0, frameBytes));
  const frameSha256 = await digestOf(read());
  // Some bits mean nothing to zstd: it is the content that counts.
  if (options.proof === "content" || frameSha256 !== found.frameSha256) {
    await drain(proven(decompress(read()), metadata));
  }

  const frame = () =>
    kept === undefined ? proven(read(), { sha256: frameSha256, sizeBytes: frameBytes }) : read();
  const owned = stack.move();
  return {
    metadata,
    frameBytes,
    frame,
    plain: () => proven(decompress(frame()), metadata),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function digestOf(bytes: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of bytes) hash.update(chunk);
  return hash.digest("hex");
}

/**
 * The same bytes; rejects with `corrupt` in the place of the last of them unless all agree with
 * their digest, so that whoever reads them never has a whole file that is wrong.
 */
async function* proven(
  bytes: AsyncIterable<Buffer>,
  digest: { readonly sha256: string; readonly sizeBytes: number },
): AsyncGenerator<Buffer, void, void> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  let last: Buffer | undefined;
  for await (const chunk of bytes) {
    if (last !== undefined) yield last;
    sizeBytes += chunk.length;
    if (sizeBytes > digest.sizeBytes) throw damaged("it holds more than its metadata say");
    hash.update(chunk);
    last = chunk;
  }
  if (sizeBytes !== digest.sizeBytes) throw damaged("it holds less than its metadata say");
  if (hash.digest("hex") !== digest.sha256) throw damaged("its content fails its sha256");
  if (last !== undefined) yield last;
}

async function drain(bytes: AsyncIterable<Buffer>): Promise<void> {
  for await (const _ of bytes);
}

/**
 * The digest of the plain bytes as far as the zstd frame alone can prove it, by its own checksum:
 * for an object whose metadata cannot be read. `undefined` when the frame is damaged, too.
 */
export async function digestOfFrame(object: OpenObject): Promise<string | undefined> {
  const hash = createHash("sha256");
  try {
    const frameBytes = await endOfFrame(object);
    if (frameBytes === undefined) return undefined;
    for await (const chunk of decompress(framesOf(object, frameBytes))) hash.update(chunk);
    return hash.digest("hex");
  } catch (error) {
    if (isFailure(error, "corrupt")) return undefined;
    throw error;
  }
}

async function endOfFrame(object: OpenObject): Promise<number | undefined> {
  const walk = new FrameWalk();
  let frameBytes = 0;
  for await (const chunk of framesOf(object, object.storedBytes)) {
    const taken = walk.take(chunk);
    if (taken === undefined) return undefined;
    frameBytes += taken;
    if (walk.isComplete) return frameBytes;
  }
  return undefined;
}

/** Bytes that may be held in memory at once, by everybody together. */
export class MemoryBudget {
  #leftBytes: number;

  constructor(bytes: number) {
    this.#leftBytes = bytes;
  }

  take(bytes: number): boolean {
    if (bytes > this.#leftBytes) return false;
    this.#leftBytes -= bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#leftBytes += bytes;
  }
}

async function* framesOf(object: OpenObject, frameBytes: number): AsyncGenerator<Buffer> {
  for (let position = 0; position < frameBytes; position += BLOCK_BYTES) {
    yield await object.read(position, Math.min(BLOCK_BYTES, frameBytes - position));
  }
}

/**
 * Of decompressed bytes. A handful of these is under way for each client: with pieces of 1 MB, 64
 * of them made the daemon half as large again.
 */
const PIECE_BYTES = 256 * 1024;

/** Rejects with `corrupt` for what is not a whole zstd frame. */
async function* decompress(frame: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const zstd = createZstdDecompress({ chunkSize: PIECE_BYTES });
  const fed = feed(frame, zstd);
  fed.catch(() => {}); // The loop hears of it from the stream.
  try {
    for await (const chunk of zstd as AsyncIterable<Buffer>) yield chunk;
    await fed;
  } catch (error) {
    if (isZstdError(error)) throw damaged("it does not decompress", error);
    throw error;
  } finally {
    zstd.destroy();
  }
}

async function feed(frame: AsyncIterable<Buffer>, zstd: ZstdDecompress): Promise<void> {
  try {
    for await (const chunk of frame) {
      await new Promise<void>((resolve, reject) => {
        zstd.write(chunk, (error) => (error ? reject(error) : resolve()));
        if (zstd.destroyed) resolve();
      });
      if (zstd.destroyed) return;
    }
    zstd.end();
  } catch (error) {
    zstd.destroy(error as Error);
    throw error;
  }
}

function isZstdError(error: unknown): boolean {
  const code = (error as { code?: unknown }).code;
  return !isFailure(error, "corrupt") && typeof code === "string" && /^(ZSTD_|Z_|ERR_)/.test(code);
}

async function* each(bytes: Buffer): AsyncGenerator<Buffer> {
  if (bytes.length > 0) yield bytes;
}
