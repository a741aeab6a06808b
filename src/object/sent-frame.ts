/** Bodies that come as one zstd frame. */
import { createHash } from "node:crypto";
import { pipeline } from "node:stream/promises";
import { constants, createZstdDecompress } from "node:zlib";
import { WalarcError } from "../errors.ts";
import { ByteBudget } from "./byte-budget.ts";
import { ContentBlocks } from "./content-blocks.ts";
import { SPARE_BYTES, zstdContent } from "./decompression.ts";
import { Hasher } from "./hasher.ts";
import { FrameWalk } from "./zstd-frame.ts";

/** 16 MB: what the highest level uses for a segment. A frame can ask for gigabytes. */
const WINDOW_LOG_MAX = 24;
const PLAIN_CHUNK_BYTES = 256 * 1024;

/** Below it a stream is as cheap. */
const WHOLE_BYTES_MIN = 1024 * 1024;
/** Of frames that are waited for in memory, and of contents: three segments of the usual size. */
const frames = new ByteBudget(24 * 1024 * 1024);
const contents = new ContentBlocks(48 * 1024 * 1024 + 3 * SPARE_BYTES);

/** Others have a block for some 50 ms; a stream takes longer than to wait for it. */
const PATIENCE_MS = 200;

const hasher = new Hasher();

/** A frame as somebody sends it: it is decompressed to be looked at, and may be kept as it is. */
export class SentFrame {
  readonly #walk = new FrameWalk();
  readonly #hash = createHash("sha256");
  readonly #body: AsyncIterable<Buffer>;
  readonly #plainBytesMax: number;
  readonly #frameBytes: number | undefined;
  /** What has come of it and was neither taken nor given up. */
  #come: Buffer[] | undefined = [];
  #sha256: string | undefined;
  #contentSha256: string | undefined;

  /** `frameBytes`: its length, where the sender has told. */
  constructor(
    body: AsyncIterable<Buffer>,
    options: { plainBytesMax: number; frameBytes?: number | undefined },
  ) {
    this.#body = body;
    this.#plainBytesMax = options.plainBytesMax;
    this.#frameBytes = options.frameBytes;
  }

  /**
   * The plain bytes of exactly one frame; rejects with `rejected` for anything else, and (413)
   * beyond `plainBytesMax`. A chunk is valid until the next one is asked for. What is not too large
   * comes in one, where there is room.
   */
  async *plain(): AsyncGenerator<Buffer, void, void> {
    const frame = this.#singleFrame();
    using room = this.#frameBytes === undefined ? undefined : frames.take(this.#frameBytes);
    if (room === undefined) yield* this.#streamed(frame);
    else yield* this.#whole(await joined(frame, room.bytes));
  }

  /**
   * Whether an object may hold it as it came: it proves its content and says how long that is.
   * Known once `plain` has yielded.
   */
  get isProof(): boolean {
    return this.#walk.hasChecksum && this.#walk.hasSize;
  }

  /** Digest of the frame, in hex. Known once `plain` has ended. */
  get sha256(): string | undefined {
    return this.#sha256;
  }

  /** Digest of the plain bytes, in hex, where it is known as soon as `plain` yields. */
  get contentSha256(): string | undefined {
    return this.#contentSha256;
  }

  /** The compressed bytes that have come since the last call. */
  take(): Buffer[] {
    const come = this.#come ?? [];
    if (this.#come !== undefined) this.#come = [];
    return come;
  }

  /** From now on nothing is held back to be taken. */
  giveUp(): void {
    this.#come = undefined;
  }

  /** In one piece, hashed in passing, where there is room and no reason to look closer. */
  async *#whole(frame: Buffer): AsyncGenerator<Buffer, void, void> {
    this.#come = this.#come && [frame];
    const { contentBytes = 0, windowBytes } = this.#walk;
    const isUsual = contentBytes >= WHOLE_BYTES_MIN && windowBytes <= 2 ** WINDOW_LOG_MAX;
    const isFitting = isUsual && contentBytes <= this.#plainBytesMax;
    const wantedBytes = contentBytes + SPARE_BYTES;
    using block = isFitting ? await contents.takeSoon(wantedBytes, PATIENCE_MS) : undefined;
    if (block === undefined) return yield* this.#streamed(inPieces(frame));
    const content = await this.#content(frame, block.memory);
    this.#contentSha256 = await hasher.sha256(content);
    yield content;
  }

  async #content(frame: Buffer, memory: Buffer): Promise<Buffer> {
    try {
      const content = await zstdContent(frame, memory);
      if (content.length === this.#walk.contentBytes) return content;
    } catch (error) {
      throw ours(error);
    }
    throw notAFrame("it has another content than it says");
  }

  async *#streamed(frame: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
    const decoder = createZstdDecompress({
      chunkSize: PLAIN_CHUNK_BYTES,
      params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX },
    });
    // A failure of the source ends the decoder with that failure; its own ends the loop below.
    const feeding = pipeline(frame, decoder).catch(() => {});
    let sizeBytes = 0;
    try {
      for await (const chunk of decoder as AsyncIterable<Buffer>) {
        sizeBytes += chunk.length;
        if (sizeBytes > this.#plainBytesMax) {
          throw new WalarcError("rejected", "the body decompresses to more than any WAL file has", {
            status: 413,
          });
        }
        yield chunk;
      }
    } catch (error) {
      throw ours(error);
    } finally {
      decoder.destroy();
      await feeding;
    }
  }

  /** The same bytes; rejects unless they are one frame from its first to its last byte. */
  async *#singleFrame(): AsyncGenerator<Buffer, void, void> {
    for await (const chunk of this.#body) {
      const taken = this.#walk.take(chunk);
      if (taken === undefined) throw notAFrame("it does not begin like one");
      if (taken < chunk.length) throw notAFrame("it goes on after its end");
      this.#hash.update(chunk);
      this.#come?.push(chunk);
      yield chunk;
    }
    if (!this.#walk.isComplete) throw notAFrame("it ends too early");
    this.#sha256 = this.#hash.digest("hex");
  }
}

/** All of it in one piece. It must not be longer than was said. */
async function joined(body: AsyncIterable<Buffer>, sizeBytes: number): Promise<Buffer> {
  const whole = Buffer.allocUnsafeSlow(sizeBytes);
  let count = 0;
  for await (const chunk of body) {
    if (chunk.length > sizeBytes - count) throw new Error("there is more than was said");
    count += chunk.copy(whole, count);
  }
  return whole.subarray(0, count);
}

async function* inPieces(bytes: Buffer): AsyncGenerator<Buffer, void, void> {
  for (let at = 0; at < bytes.length; at += PLAIN_CHUNK_BYTES) {
    yield bytes.subarray(at, at + PLAIN_CHUNK_BYTES);
  }
}

/** zstd's errors are the sender's. */
function ours(error: unknown): unknown {
  return isZstdError(error) ? notAFrame(`it does not decompress (${error.code})`, error) : error;
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
