/** Bodies that come as one zstd frame. */
import { pipeline } from "node:stream/promises";
import { constants, createZstdDecompress } from "node:zlib";
import { WalarcError } from "../errors.ts";
import { FrameWalk } from "./zstd-frame.ts";

/** 16 MB: what the highest level uses for a segment. A frame can ask for gigabytes. */
const WINDOW_LOG_MAX = 24;
const PLAIN_CHUNK_BYTES = 256 * 1024;

/** A frame as somebody sends it: it is decompressed to be looked at, and may be kept as it is. */
export class SentFrame {
  readonly #walk = new FrameWalk();
  readonly #body: AsyncIterable<Buffer>;
  readonly #plainBytesMax: number;
  /** What has come of it and was neither taken nor given up. */
  #come: Buffer[] | undefined = [];

  constructor(body: AsyncIterable<Buffer>, options: { plainBytesMax: number }) {
    this.#body = body;
    this.#plainBytesMax = options.plainBytesMax;
  }

  /**
   * The plain bytes of exactly one frame; rejects with `rejected` for anything else, and (413)
   * beyond `plainBytesMax`.
   */
  async *plain(): AsyncGenerator<Buffer, void, void> {
    const decoder = createZstdDecompress({
      chunkSize: PLAIN_CHUNK_BYTES,
      params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX },
    });
    // A failure of the source ends the decoder with that failure; its own ends the loop below.
    const feeding = pipeline(this.#singleFrame(), decoder).catch(() => {});
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
      throw isZstdError(error) ? notAFrame(`it does not decompress (${error.code})`, error) : error;
    } finally {
      decoder.destroy();
      await feeding;
    }
  }

  /**
   * Whether an object may hold it as it came: it proves its content and says how long that is.
   * Known once `plain` has yielded.
   */
  get isProof(): boolean {
    return this.#walk.hasChecksum && this.#walk.hasSize;
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

  /** The same bytes; rejects unless they are one frame from its first to its last byte. */
  async *#singleFrame(): AsyncGenerator<Buffer, void, void> {
    for await (const chunk of this.#body) {
      const taken = this.#walk.take(chunk);
      if (taken === undefined) throw notAFrame("it does not begin like one");
      if (taken < chunk.length) throw notAFrame("it goes on after its end");
      this.#come?.push(chunk);
      yield chunk;
    }
    if (!this.#walk.isComplete) throw notAFrame("it ends too early");
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
