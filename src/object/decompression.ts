/** A zstd frame that stands in memory as a whole, decompressed in one call. */
import { createZstdDecompress } from "node:zlib";

/**
 * The content of exactly one frame, which says that it has so many bytes, in memory of its own. On
 * a thread of the pool, which must not find the frame changed before this has resolved; after a
 * failure it may still be reading it. zstd writes into its place what a stream would pass through a
 * window, and V8 has nothing to collect. Rejects with zstd's errors, and for another length.
 */
export async function zstdContent(
  frame: Buffer,
  contentBytes: number,
): Promise<Buffer<ArrayBuffer>> {
  // With room to spare: else Node would ask for more of what has ended.
  const roomBytes = contentBytes + 64;
  const zstd = createZstdDecompress({ chunkSize: roomBytes });
  const pieces: Buffer<ArrayBuffer>[] = [];
  try {
    await new Promise<void>((resolve, reject) => {
      zstd.on("data", (piece: Buffer<ArrayBuffer>) => pieces.push(piece)).on("error", reject);
      zstd.on("close", () => reject(new Error("the decompressor was closed")));
      zstd.write(frame, (error) => (error ? reject(error) : resolve()));
    });
  } finally {
    zstd.destroy();
  }
  const [content] = pieces;
  const isAlone = pieces.length === 1 && content?.buffer.byteLength === roomBytes;
  if (isAlone && content.length === contentBytes) return content;
  throw new WrongLength();
}

/** Like zstd's own. */
class WrongLength extends Error {
  readonly code = "ZSTD_error_corruption_detected";

  constructor() {
    super("a frame with another content than it says");
  }
}
