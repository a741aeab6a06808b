/** From the plain bytes of a WAL file to the bytes of an object, in one pass and flat memory. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import type { ZstdCompress } from "node:zlib";
import { WalarcError } from "../errors.ts";
import { zstdFrame, zstdStream } from "./compression.ts";
import { Hasher } from "./hasher.ts";
import { type ObjectMetadata, trailerOf } from "./metadata.ts";
import type { SentFrame } from "./sent-frame.ts";

/**
 * Compressing in blocks of this size costs as much CPU as one call for a whole segment, and half as
 * much as blocks of 64 KiB, the size that sockets deliver.
 */
export const BLOCK_BYTES = 1024 * 1024;

/** Up to this level a frame is kept as it was sent; who asked for more wants it compressed anew. */
const KEPT_LEVEL_MAX = 3;

/** Above it one call for a whole segment takes seconds, in which nothing could stop it. */
const WHOLE_LEVEL_MAX = 9;

/** What no compressor adds to what it cannot compress; a frame of empty blocks has no end to it. */
const FRAME_OVERHEAD_BYTES_MAX = 1024;

/** The digest and size of plain bytes. */
export interface PlainDigest {
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface EncodeOptions {
  /** zstd level, -7..19. */
  readonly compressionLevel: number;
  /** Size of the plain bytes where it is known beforehand. */
  readonly sizeBytes: number | undefined;
  /** Where the plain bytes come from, when they were sent compressed. */
  readonly sent?: SentFrame | undefined;
  /** Called once, when every plain byte was read. A rejection ends the encoding. */
  readonly describe: (digest: PlainDigest) => Promise<ObjectMetadata> | ObjectMetadata;
}

/**
 * Yields the object's bytes: one zstd frame with its checksum flag set, then the metadata. A frame
 * that was sent is kept as it came where it proves its content; so it is compressed once. A
 * yielded buffer may be kept, or given back (`freeFrame`). Rejects with whatever `plain` or
 * `describe` reject with.
 */
export async function* encodeObject(
  plain: AsyncIterable<Buffer>,
  options: EncodeOptions,
): AsyncGenerator<Buffer, void, void> {
  const { sent, compressionLevel, sizeBytes } = options;
  // Nothing is known of a sent frame before its first bytes have come.
  const iterator = plain[Symbol.asyncIterator]();
  const first = await iterator.next();
  const all = resumed(first, iterator);
  if (sent === undefined) {
    const isWhole = first.done !== true && first.value.length === sizeBytes && sizeBytes > 0;
    const isQuick = compressionLevel <= WHOLE_LEVEL_MAX;
    return yield* isWhole && isQuick ? compressedWhole(all, options) : compressed(all, options);
  }
  if (sent.isProof && compressionLevel <= KEPT_LEVEL_MAX) return yield* kept(all, sent, options);
  sent.giveUp();
  yield* compressed(all, options);
}

/** The frame as it was sent. What nobody has looked at yet stays back until it was. */
async function* kept(
  plain: AsyncIterable<Buffer>,
  sent: SentFrame,
  options: EncodeOptions,
): AsyncGenerator<Buffer, void, void> {
  const hash = sent.contentSha256 === undefined ? createHash("sha256") : undefined;
  let sizeBytes = 0;
  let frameBytes = 0;
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  const take = () => {
    for (const piece of sent.take()) {
      frameBytes += piece.length;
      waitingBytes += piece.length;
      waiting.push(piece);
    }
  };
  for await (const chunk of plain) {
    hash?.update(chunk);
    sizeBytes += chunk.length;
    take();
    // Hashed already, the content is all here: its memory goes before the frame is written.
    if (waitingBytes < BLOCK_BYTES || hash === undefined) continue;
    yield joined(waiting);
    waiting = [];
    waitingBytes = 0;
  }
  take();
  if (frameBytes > sizeBytes + FRAME_OVERHEAD_BYTES_MAX + sizeBytes / 64) throw tooLongFrame();
  if (waitingBytes > 0) yield joined(waiting);
  const sha256 = hash?.digest("hex") ?? sent.contentSha256;
  const { sha256: frameSha256 } = sent;
  if (sha256 === undefined || frameSha256 === undefined) throw new Error("a frame has no digest");
  const metadata = await options.describe({ sha256, sizeBytes });
  yield trailerOf(metadata, { frameBytes, frameSha256 });
}

function joined(pieces: readonly Buffer[]): Buffer {
  const [first] = pieces;
  return first !== undefined && pieces.length === 1 ? first : Buffer.concat(pieces);
}

function tooLongFrame(): WalarcError {
  return new WalarcError("rejected", "the body is a zstd frame longer than its own content", {
    hint: "send the file as it is, or compressed by the usual means",
  });
}

async function* resumed(
  first: IteratorResult<Buffer, unknown>,
  iterator: AsyncIterator<Buffer>,
): AsyncGenerator<Buffer, void, void> {
  try {
    for (let next = first; next.done !== true; next = await iterator.next()) yield next.value;
  } finally {
    await iterator.return?.();
  }
}

const hasher = new Hasher();

/** All in one chunk: hashed and compressed side by side, where it stands. */
async function* compressedWhole(
  plain: AsyncIterable<Buffer>,
  options: EncodeOptions,
): AsyncGenerator<Buffer, void, void> {
  let sizeBytes = 0;
  let sha256 = "";
  let frame: Buffer = Buffer.alloc(0);
  for await (const chunk of plain) {
    if (sizeBytes > 0) throw new Error("there is more than was said");
    sizeBytes = chunk.length;
    [sha256, frame] = await Promise.all([hasher.sha256(chunk), zstdFrame(chunk, options)]);
  }
  const frameBytes = frame.length;
  const frameSha256 = createHash("sha256").update(frame).digest("hex");
  // From then on it belongs to whoever asked for it.
  yield frame;
  const metadata = await options.describe({ sha256, sizeBytes });
  yield trailerOf(metadata, { frameBytes, frameSha256 });
}

async function* compressed(
  plain: AsyncIterable<Buffer>,
  options: EncodeOptions,
): AsyncGenerator<Buffer, void, void> {
  const { compressionLevel, sizeBytes } = options;
  const zstd = zstdStream({ compressionLevel, sizeBytes, chunkBytes: BLOCK_BYTES });
  const digest = compressAll(plain, zstd);
  // The loop below hears of a failure from the stream; without this the promise would be unheard.
  digest.catch(() => {});

  let frameBytes = 0;
  const frameHash = createHash("sha256");
  try {
    for await (const chunk of zstd as AsyncIterable<Buffer>) {
      frameBytes += chunk.length;
      frameHash.update(chunk);
      yield chunk;
    }
  } finally {
    zstd.destroy();
  }
  const metadata = await options.describe(await digest);
  yield trailerOf(metadata, { frameBytes, frameSha256: frameHash.digest("hex") });
}

/** Feeds the compressor block by block; hashing one block overlaps with compressing the last. */
async function compressAll(plain: AsyncIterable<Buffer>, zstd: ZstdCompress): Promise<PlainDigest> {
  const hash = createHash("sha256");
  const closed = once(zstd, "close").then(() => {
    throw new Error("the compressor was closed");
  });
  closed.catch(() => {});
  const blocks = [takeBlock(), takeBlock()] as const;
  let sizeBytes = 0;
  try {
    let written = Promise.resolve();
    for await (const block of blocksOf(plain, blocks)) {
      sizeBytes += block.length;
      hash.update(block);
      await written;
      written = Promise.race([writeTo(zstd, block), closed]);
      // Awaited in the next turn; should this turn throw instead, its failure is the stream's.
      written.catch(() => {});
    }
    await written;
    // Not before, and not after a failure: while the compressor's thread still reads a block,
    // nobody else may fill it.
    for (const block of blocks) returnBlock(block);
    zstd.end();
  } catch (error) {
    zstd.destroy(error as Error);
    throw error;
  }
  return { sha256: hash.digest("hex"), sizeBytes };
}

function writeTo(zstd: ZstdCompress, block: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    zstd.write(block, (error) => (error ? reject(error) : resolve()));
  });
}

/**
 * The same bytes in whole blocks, the last one shorter. The two take turns, so a block stays valid
 * until the next but one is asked for.
 */
async function* blocksOf(
  plain: AsyncIterable<Buffer>,
  [first, second]: readonly [Buffer, Buffer],
): AsyncGenerator<Buffer, void, void> {
  let filling = first;
  let waiting = second;
  let filled = 0;
  for await (const chunk of plain) {
    let taken = 0;
    while (taken < chunk.length) {
      const part = chunk.copy(filling, filled, taken);
      taken += part;
      filled += part;
      if (filled < filling.length) continue;
      yield filling;
      [filling, waiting] = [waiting, filling];
      filled = 0;
    }
  }
  if (filled > 0) yield filling.subarray(0, filled);
}

/**
 * Blocks are reused: 64 pushes at once would otherwise leave hundreds of megabytes for the garbage
 * collector, which does not feel memory outside its heap.
 */
const spareBlocks: Buffer[] = [];
const SPARE_BLOCKS_MAX = 32;

function takeBlock(): Buffer {
  return spareBlocks.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
}

function returnBlock(block: Buffer): void {
  if (spareBlocks.length < SPARE_BLOCKS_MAX) spareBlocks.push(block);
}
