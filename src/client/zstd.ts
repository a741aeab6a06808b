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

/**
 * One frame that says how long its content is and proves it by a checksum, which a daemon may store
 * as it stands. `undefined` where the runtime has no zstd, as before Node 22.15.
 */
export async function compressed(plain: Buffer): Promise<Buffer | undefined> {
  const zlib = await import("node:zlib");
  if (typeof zlib.zstdCompress !== "function") return undefined;
  const { ZSTD_c_compressionLevel, ZSTD_c_checksumFlag } = zlib.constants;
  const params = { [ZSTD_c_compressionLevel]: 1, [ZSTD_c_checksumFlag]: 1 };
  return await new Promise((resolve, reject) => {
    zlib.zstdCompress(plain, { params, pledgedSrcSize: plain.length }, (error, frame) => {
      if (error === null) resolve(frame);
      else reject(error);
    });
  });
}

/** Whether this runtime can read a frame. */
export async function canDecompress(): Promise<boolean> {
  return typeof (await import("node:zlib")).zstdDecompress === "function";
}

/** Rejects for what is no frame, and beyond `plainBytesMax`. */
export async function decompressed(frame: Buffer, plainBytesMax: number): Promise<Buffer> {
  const zlib = await import("node:zlib");
  return await new Promise((resolve, reject) => {
    zlib.zstdDecompress(frame, { maxOutputLength: plainBytesMax }, (error, plain) => {
      if (error === null) resolve(plain);
      else reject(error);
    });
  });
}
