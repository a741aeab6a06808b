/** Files made into frames to send, a few at a time, in memory that is used again. */
import { readSource, requireUnchanged, type SourceFile } from "./source-file.ts";
import { canCompress, compressed, discard, FRAME_PLAIN_BYTES_MAX, framesAtOnce } from "./zstd.ts";

/** Then the memory is given back to the system. */
const KEPT_MS = 2000;
const PAGE_BYTES = 4096;
/** Of glibc's malloc, in front of what it has mapped for a large request. */
const MALLOC_HEADER_BYTES = 16;

/** No more than 64 MB of files stand in memory at a time. */
export class Frames {
  readonly #spare: Buffer[] = [];
  readonly #waiting: (() => void)[] = [];
  readonly #atOnce: number;
  #underWay = 0;
  #release: NodeJS.Timeout | undefined;

  /** `atOnce` files at most, however small they are. */
  constructor(atOnce: number) {
    this.#atOnce = atOnce;
  }

  /**
   * The whole file as a frame; `undefined` where it is too large, or the runtime has no zstd. Waits
   * for its turn. Rejects with `local` when it cannot be read or has changed.
   */
  async of(file: SourceFile): Promise<Buffer | undefined> {
    const { size: sizeBytes } = file.stats;
    if (sizeBytes > FRAME_PLAIN_BYTES_MAX || !(await canCompress())) return undefined;
    await this.#turn(framesAtOnce(sizeBytes, this.#atOnce));
    try {
      const block = this.#take(sizeBytes);
      readWhole(file, block);
      const frame = await compressed(block);
      // Not after a failure: it may still be read.
      this.#giveBack(block);
      return frame;
    } finally {
      this.#underWay -= 1;
      this.#waiting.shift()?.();
    }
  }

  async #turn(most: number): Promise<void> {
    while (this.#underWay >= most) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#underWay += 1;
  }

  #take(sizeBytes: number): Buffer {
    const block = this.#spare.pop();
    if (block?.length === sizeBytes) return block;
    this.#dropSpare();
    return pageAligned(sizeBytes);
  }

  #giveBack(block: Buffer): void {
    this.#spare.push(block);
    clearTimeout(this.#release);
    this.#release = setTimeout(() => this.#dropSpare(), KEPT_MS);
    this.#release.unref();
  }

  #dropSpare(): void {
    for (const { buffer } of this.#spare.splice(0)) discard(buffer);
  }
}

/** A few bytes behind a page is the worst place to read a file into: 8 ms for 16 MB, not 3. */
function pageAligned(sizeBytes: number): Buffer {
  const memory = new ArrayBuffer(sizeBytes + PAGE_BYTES);
  return Buffer.from(memory, PAGE_BYTES - MALLOC_HEADER_BYTES, sizeBytes);
}

function readWhole(file: SourceFile, bytes: Buffer): void {
  let count = 0;
  while (count < bytes.length) {
    const more = readSource(file, bytes.subarray(count));
    if (more === 0) break;
    count += more;
  }
  requireUnchanged(file, count);
}
