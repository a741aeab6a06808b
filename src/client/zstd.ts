/**
 * Segments as one zstd frame, a ninth of the bytes on the network. For processes that move many: to
 * load the runtime's zlib costs the standalone client as much CPU as half a segment's compression.
 */

/** What is compressed in one piece; larger segments go as they are. */
export const FRAME_PLAIN_BYTES_MAX = 64 * 1024 * 1024;

/**
 * How many files of this size to move side by side, of `most`: those that go as frames are in
 * memory whole, and the host is a database's.
 */
export function framesAtOnce(fileBytes: number, most: number): number {
  if (fileBytes > FRAME_PLAIN_BYTES_MAX) return most;
  return Math.min(most, Math.max(1, Math.floor(FRAME_PLAIN_BYTES_MAX / Math.max(1, fileBytes))));
}

/** Whether this runtime can make a frame, which Node cannot before 22.15. */
export async function canCompress(): Promise<boolean> {
  return typeof (await import("node:zlib")).createZstdCompress === "function";
}

/**
 * One frame that says how long its content is and proves it by a checksum, which a daemon may store
 * as it stands; as small as its own ones at level 1 (`object/compression.ts`). The bytes must not
 * change before this has resolved; after a failure they may still be read.
 */
export async function compressed(plain: Buffer): Promise<Buffer> {
  const { constants, createZstdCompress } = await import("node:zlib");
  // Room for what does not compress at all (ZSTD_compressBound), and the first write is the last:
  // so it is one call, which searches where the bytes stand. By the usual 16 KB Bun takes 67 ms
  // of CPU for 16 MB, like this 41.
  const roomBytes = plain.length + (plain.length >> 8) + 1024;
  const zstd = createZstdCompress({
    chunkSize: roomBytes,
    params: {
      [constants.ZSTD_c_compressionLevel]: 1,
      [constants.ZSTD_c_checksumFlag]: 1,
      [constants.ZSTD_c_minMatch]: 5,
      [constants.ZSTD_c_hashLog]: 15,
      [constants.ZSTD_c_windowLog]: 21,
    },
    pledgedSrcSize: plain.length,
    flush: constants.ZSTD_e_end,
  });
  const pieces: Buffer[] = [];
  try {
    await new Promise<void>((resolve, reject) => {
      zstd.on("data", (piece: Buffer) => pieces.push(piece)).on("error", reject);
      zstd.on("close", () => reject(new Error("the compressor was closed")));
      zstd.write(plain, (error) => (error ? reject(error) : resolve()));
    });
    // A copy: the room around it goes at once.
    return Buffer.concat(pieces);
  } finally {
    zstd.destroy();
    for (const { buffer } of pieces) if (buffer.byteLength === roomBytes) discard(buffer);
  }
}

/** At once, not when garbage is collected: that feels no memory outside its heap. */
export function discard(memory: ArrayBufferLike): void {
  if (memory instanceof ArrayBuffer) memory.transfer(0);
}

/** Whether this runtime can read a frame. */
export async function canDecompress(): Promise<boolean> {
  return typeof (await import("node:zlib")).zstdDecompress === "function";
}

/** Rejects for what is no frame, and beyond `plainBytesMax`. */
export async function decompressed(frame: Buffer, plainBytesMax: number): Promise<Buffer> {
  const zlib = await import("node:zlib");
  return await new Promise((resolve, reject) => {
    // In one piece: in those of 16 KB that are usual it takes seven times as long.
    const room = { maxOutputLength: plainBytesMax, chunkSize: plainBytesMax };
    zlib.zstdDecompress(frame, room, (error, plain) => {
      if (error === null) resolve(plain);
      else reject(error);
    });
  });
}
