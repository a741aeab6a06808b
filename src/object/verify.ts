/** Reading objects back: nothing is handed out before every byte of it was checked. */
import { createHash } from "node:crypto";
import { createZstdDecompress, type ZstdDecompress } from "node:zlib";
import { isFailure } from "../errors.ts";
import type { OpenObject } from "../store/store.ts";
import { BLOCK_BYTES } from "./encode.ts";
import { damaged, type ObjectMetadata, parseTrailer, TRAILER_BYTES_MAX } from "./metadata.ts";
import { FrameWalk } from "./zstd-frame.ts";

/** An object whose whole content was decompressed and agrees with its digest. Dispose it. */
export interface VerifiedObject extends AsyncDisposable {
  readonly metadata: ObjectMetadata;
  /** Size of the zstd frame. */
  readonly frameBytes: number;
  /** The zstd frame as stored. */
  frame(): AsyncIterable<Buffer>;
  /** The plain bytes. */
  plain(): AsyncIterable<Buffer>;
}

/** Rejects with `corrupt` when the trailer is damaged. Reads the trailer alone. */
export async function readMetadata(
  object: OpenObject,
): Promise<{ metadata: ObjectMetadata; frameBytes: number }> {
  const tailBytes = Math.min(object.storedBytes, TRAILER_BYTES_MAX);
  const tail = await object.read(object.storedBytes - tailBytes, tailBytes);
  return parseTrailer(tail, { storedBytes: object.storedBytes });
}

/**
 * Reads the whole object and resolves once it proved to be what was stored; rejects with `corrupt`
 * otherwise. Takes the object over: it is closed on failure, and with the result.
 *
 * Plain bytes are kept for `plain()` as far as `budget` allows; beyond that they are decompressed
 * a second time, which costs CPU but no memory.
 */
export async function verifyObject(
  object: OpenObject,
  options: { name: string; budget: MemoryBudget },
): Promise<VerifiedObject> {
  await using stack = new AsyncDisposableStack();
  stack.use(object);
  const { metadata, frameBytes } = await readMetadata(object);
  if (metadata.name !== options.name) throw damaged(`it says that it is "${metadata.name}"`);

  const kept = options.budget.take(metadata.sizeBytes) ? new Array<Buffer>() : undefined;
  if (kept !== undefined) stack.defer(() => options.budget.giveBack(metadata.sizeBytes));
  const hash = createHash("sha256");
  let sizeBytes = 0;
  for await (const chunk of decompress(framesOf(object, frameBytes))) {
    sizeBytes += chunk.length;
    if (sizeBytes > metadata.sizeBytes) throw damaged("it holds more than its metadata say");
    hash.update(chunk);
    kept?.push(chunk);
  }
  if (sizeBytes !== metadata.sizeBytes) throw damaged("it holds less than its metadata say");
  if (hash.digest("hex") !== metadata.sha256) throw damaged("its content fails its sha256");

  const owned = stack.move();
  return {
    metadata,
    frameBytes,
    frame: () => framesOf(object, frameBytes),
    plain: () => (kept === undefined ? decompress(framesOf(object, frameBytes)) : each(kept)),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
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

/** Plain bytes that may be held in memory at once, by everybody together. */
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

/** Rejects with `corrupt` for what is not a whole zstd frame. */
async function* decompress(frame: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const zstd = createZstdDecompress({ chunkSize: BLOCK_BYTES });
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

async function* each(chunks: readonly Buffer[]): AsyncGenerator<Buffer> {
  yield* chunks;
}
