/** Bodies that come as one zstd frame. */
import { pipeline } from "node:stream/promises";
import { constants, createZstdDecompress } from "node:zlib";
import { WalarcError } from "../errors.ts";

const MAGIC = 0xfd2fb528;
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
    walk.take(chunk);
    yield chunk;
  }
  if (!walk.isComplete) throw notAFrame("it ends too early");
}

/**
 * Follows a frame from block to block (RFC 8878, section 3.1.1) without decompressing it. Node's
 * decoder cannot be asked where a frame ended: it ignores a second one, or garbage, that comes with
 * the end of the first.
 */
class FrameWalk {
  /** The field being read, until it has as many bytes as it needs. */
  #field = Buffer.alloc(0);
  #neededBytes = 5;
  #next: (field: Buffer) => void = (field) => this.#readDescriptor(field);
  #skipBytes = 0;
  #hasChecksum = false;
  isComplete = false;

  take(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.isComplete) throw notAFrame("it goes on after its end");
      const skipped = Math.min(this.#skipBytes, rest.length);
      this.#skipBytes -= skipped;
      rest = rest.subarray(skipped);
      if (this.#skipBytes > 0) return;
      rest = this.#takeField(rest);
    }
  }

  #takeField(bytes: Buffer): Buffer {
    const taken = Math.min(this.#neededBytes - this.#field.length, bytes.length);
    this.#field = Buffer.concat([this.#field, bytes.subarray(0, taken)]);
    if (this.#field.length === this.#neededBytes) {
      const field = this.#field;
      this.#field = Buffer.alloc(0);
      this.#next(field);
    }
    return bytes.subarray(taken);
  }

  #await(neededBytes: number, next: (field: Buffer) => void): void {
    if (neededBytes === 0) {
      next(Buffer.alloc(0));
      return;
    }
    this.#neededBytes = neededBytes;
    this.#next = next;
  }

  #readDescriptor(field: Buffer): void {
    if (field.readUInt32LE(0) !== MAGIC) throw notAFrame("it does not begin like one");
    const descriptor = field.readUInt8(4);
    const isSingleSegment = (descriptor & 0x20) !== 0;
    this.#hasChecksum = (descriptor & 0x04) !== 0;
    const dictionaryBytes = [0, 1, 2, 4][descriptor & 0x03] ?? 0;
    const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
    const windowBytes = isSingleSegment ? 0 : 1;
    this.#await(windowBytes + dictionaryBytes + sizeBytes, () => this.#awaitBlock());
  }

  #awaitBlock(): void {
    this.#await(3, (field) => this.#readBlock(field.readUIntLE(0, 3)));
  }

  #readBlock(header: number): void {
    const isLast = (header & 1) !== 0;
    const isRunLength = ((header >> 1) & 3) === 1;
    this.#skipBytes = isRunLength ? 1 : header >> 3;
    if (!isLast) this.#awaitBlock();
    else if (this.#hasChecksum) this.#await(4, () => this.#end());
    else if (this.#skipBytes === 0) this.#end();
    else this.#endAfterSkip();
  }

  /** The last byte to skip is read as a field, because a field's end is where the frame can end. */
  #endAfterSkip(): void {
    this.#skipBytes -= 1;
    this.#await(1, () => this.#end());
  }

  #end(): void {
    this.isComplete = true;
  }
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
