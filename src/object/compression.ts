/** How zstd compresses WAL, as a stream and in one call. */
import { constants, createZstdCompress, type ZstdCompress, type ZstdOptions } from "node:zlib";

const FAST_LEVELS: ReadonlySet<number> = new Set([1, 2]);
/**
 * At these levels zstd looks for matches of six and seven bytes, and WAL has many of five: finding
 * them makes objects a fifth smaller, as small as level 3 does, for a tenth more CPU instead of a
 * third. The window is the one of level 3. The table of what was seen, of 128 KB, stays in the
 * processor's own cache: twice as many entries would save a seventh of a percent of room for a
 * tenth more CPU.
 */
const TUNED_FOR_WAL = {
  [constants.ZSTD_c_minMatch]: 5,
  [constants.ZSTD_c_hashLog]: 15,
  [constants.ZSTD_c_windowLog]: 21,
};

/**
 * Node takes a value of -1 for one that was not given, so that level -1 would be 3. The levels
 * below zero differ in one parameter alone, which is their number without its sign (zstd: row 0 of
 * ZSTD_defaultCParameters).
 */
const LEVEL_MINUS_1 = {
  [constants.ZSTD_c_compressionLevel]: -2,
  [constants.ZSTD_c_targetLength]: 1,
};

function paramsOf(compressionLevel: number): NonNullable<ZstdOptions["params"]> {
  return {
    [constants.ZSTD_c_compressionLevel]: compressionLevel,
    ...(compressionLevel === -1 ? LEVEL_MINUS_1 : {}),
    [constants.ZSTD_c_checksumFlag]: 1,
    ...(FAST_LEVELS.has(compressionLevel) ? TUNED_FOR_WAL : {}),
  };
}

/** One frame with its checksum flag set; it says its size where that is known beforehand. */
export function zstdStream(options: {
  compressionLevel: number;
  chunkBytes: number;
  sizeBytes: number | undefined;
}): ZstdCompress {
  const { compressionLevel, chunkBytes, sizeBytes } = options;
  return createZstdCompress({
    chunkSize: chunkBytes,
    params: paramsOf(compressionLevel),
    ...(sizeBytes === undefined ? {} : { pledgedSrcSize: sizeBytes }),
  });
}

/**
 * V8 collects garbage whenever memory outside its heap has grown by 64 MB, and what a segment is
 * compressed into counts 19 of them: a fourth at once costs a collection every other segment.
 */
const FRAMES_AT_ONCE = 3;
let framesBegun = 0;
const waiting: (() => void)[] = [];

/** Of frames that were made here, and share it with nothing. */
const ownMemory = new WeakSet<ArrayBufferLike>();

/**
 * The same in one call, on a thread of the pool, which must not find the bytes changed before this
 * has resolved; after a failure it may still be reading them. zstd then needs no copy of them, and
 * no slow search for matches across the end of a ring buffer.
 */
export async function zstdFrame(
  plain: Buffer,
  options: { compressionLevel: number },
): Promise<Buffer> {
  if (framesBegun < FRAMES_AT_ONCE) framesBegun += 1;
  else await new Promise<void>((resolve) => waiting.push(resolve));
  try {
    const frame = await frameOf(plain, options);
    ownMemory.add(frame.buffer);
    return frame;
  } finally {
    const next = waiting.shift();
    if (next === undefined) framesBegun -= 1;
    else next();
  }
}

/**
 * Gives the memory of a frame back now, if it came from `zstdFrame` and nobody reads it any more;
 * of other bytes nothing.
 */
export function freeFrame(frame: Buffer): void {
  if (ownMemory.delete(frame.buffer)) (frame.buffer as ArrayBuffer).transfer(0);
}

async function frameOf(plain: Buffer, options: { compressionLevel: number }): Promise<Buffer> {
  // Room for what does not compress at all (ZSTD_compressBound): only then is it one call.
  const roomBytes = plain.length + (plain.length >> 8) + 1024;
  const zstd = createZstdCompress({
    chunkSize: roomBytes,
    params: paramsOf(options.compressionLevel),
    pledgedSrcSize: plain.length,
    // The first write is the last.
    flush: constants.ZSTD_e_end,
  });
  const pieces: Buffer[] = [];
  try {
    await new Promise<void>((resolve, reject) => {
      zstd.on("data", (piece: Buffer) => pieces.push(piece)).on("error", reject);
      zstd.on("close", () => reject(new Error("the compressor was closed")));
      zstd.write(plain, (error) => (error ? reject(error) : resolve()));
    });
  } finally {
    zstd.destroy();
  }
  const [first] = pieces;
  const isAlone = pieces.length === 1 && first?.buffer.byteLength === roomBytes;
  if (!isAlone) return inOwnMemory(pieces);
  // The room around it is given back at once, not when garbage is collected.
  return Buffer.from((first.buffer as ArrayBuffer).transfer(first.length));
}

/** Not in that which small buffers share. */
function inOwnMemory(pieces: readonly Buffer[]): Buffer {
  const all = Buffer.allocUnsafeSlow(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) at += piece.copy(all, at);
  return all;
}
