/** A zstd frame that stands in memory as a whole, decompressed in one call. */
import { createZstdDecompress } from "node:zlib";

/** Behind the content: with none Node would take the frame for unfinished. */
export const SPARE_BYTES = 64;

/**
 * The content of exactly one frame, where it fits into `memory` with room to spare; else as it
 * comes. On a thread of the pool: the frame and the memory are nobody else's before this has
 * settled. zstd then writes into its place what a stream would pass through a window. Rejects with
 * zstd's errors.
 */
export async function zstdContent(frame: Buffer, memory: Buffer): Promise<Buffer> {
  const zstd = createZstdDecompress();
  // Node has no option for it. Should these names change one day, the content comes in pieces.
  Object.assign(zstd, { _outBuffer: memory, _chunkSize: memory.length });
  const pieces: Buffer[] = [];
  try {
    await new Promise<void>((resolve, reject) => {
      zstd.on("data", (piece: Buffer) => pieces.push(piece)).on("error", reject);
      zstd.on("close", () => reject(new Error("the decompressor was closed")));
      zstd.write(frame, (error) => (error ? reject(error) : resolve()));
    });
  } finally {
    zstd.destroy();
  }
  const [content] = pieces;
  return content !== undefined && pieces.length === 1 ? content : Buffer.concat(pieces);
}
