/** Bodies that come as one zstd frame. */
import { pipeline } from "node:stream/promises";
import { constants, createZstdDecompress } from "node:zlib";
import { WalarcError } from "../errors.ts";
import { FrameWalk } from "../object/zstd-frame.ts";

/** 16 MB: what the highest level uses for a segment. A frame can ask for gigabytes. */
const WINDOW_LOG_MAX = 24;
const PLAIN_CHUNK_BYTES = 256 * 1024;

/**
 * The plain bytes of exactly one frame; rejects with `rejected` for anything else, and (413) beyond
 * `plainBytesMax`.
 */
export async function* plainBytes(
  frame: AsyncIterable<Buffer>,
  options: { plainBytesMax: number },
): AsyncGenerator<Buffer, void, void> {
  const decoder = createZstdDecompress({
    chunkSize: PLAIN_CHUNK_BYTES,
    params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX },
  });
  // A failure of the source ends the decoder with that failure; its own ends the loop below.
  const feeding = pipeline(singleFrame(frame), decoder).catch(() => {});
  let sizeBytes = 0;
  try {
    for await (const chunk of decoder as AsyncIterable<Buffer>) {
      sizeBytes += chunk.length;
      if (sizeBytes > options.plainBytesMax) {
        throw new WalarcError("rejected", "the body decompresses to more than any WAL file has", {
          status: 413,
        });
      }
      yield chunk;
    }
  } catch (error) {
    throw isZstdError(error) ? notAFrame(`it does not decompress (${error.code})`, error) : error;
  } finally {
    decoder.destroy();
    await feeding;
  }
}

/** The same bytes; rejects unless they are one frame from its first to its last byte. */
async function* singleFrame(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
  const walk = new FrameWalk();
  for await (const chunk of body) {
    const taken = walk.take(chunk);
    if (taken === undefined) throw notAFrame("it does not begin like one");
    if (taken < chunk.length) throw notAFrame("it goes on after its end");
    yield chunk;
  }
  if (!walk.isComplete) throw notAFrame("it ends too early");
}

function isZstdError(error: unknown): error is Error & { code: string } {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") {
    return false;
  }
  return error.code.startsWith("ZSTD_") || error.code.startsWith("Z_");
}

function notAFrame(why: string, cause?: unknown): WalarcError {
  return new WalarcError("rejected", `the body is not one zstd frame: ${why}`, {
    hint: "send the file as it is, or compressed with zstd into a single frame",
    cause,
  });
}
