/** Memory for whole WAL files. */

/** So much stands in memory at most: four segments of the usual size, or one of 64 MB. */
const BYTES_MAX = 64 * 1024 * 1024;
/** What nobody has asked for by then is given back to the system. */
const KEPT_MS = 10_000;

const PAGE_BYTES = 4096;
/** Of glibc's malloc, in front of what it has mapped for a large request. */
const MALLOC_HEADER_BYTES = 16;

/**
 * Shared between threads, and where possible aligned to a page. A few bytes behind one is the worst
 * place to read a file into: to the processor every load from the page cache then seems to depend
 * on the store before it, and copying 16 MB takes 8 ms instead of 3.
 */
export function pageAligned(sizeBytes: number): Buffer {
  const memory = new SharedArrayBuffer(sizeBytes + PAGE_BYTES);
  return Buffer.from(memory, PAGE_BYTES - MALLOC_HEADER_BYTES, sizeBytes);
}

/**
 * Blocks of a file's size, used again and again: new memory of 16 MB costs as much as reading into
 * it, and is returned by the garbage collector when it pleases.
 */
export class WalBlocks {
  readonly #spare: Buffer[] = [];
  #bytes = 0;
  #release: NodeJS.Timeout | undefined;

  /** `undefined` where there is no room for it now. `giveBack` or `drop` it. */
  take(sizeBytes: number): Buffer | undefined {
    const at = this.#spare.findIndex((block) => block.length === sizeBytes);
    if (at >= 0) return this.#spare.splice(at, 1)[0];
    if (sizeBytes > BYTES_MAX - this.#bytes) this.#dropSpare();
    if (sizeBytes > BYTES_MAX - this.#bytes) return undefined;
    this.#bytes += sizeBytes;
    return pageAligned(sizeBytes);
  }

  /** Only what no other thread reads any more. */
  giveBack(block: Buffer): void {
    this.#spare.push(block);
    clearTimeout(this.#release);
    this.#release = setTimeout(() => this.#dropSpare(), KEPT_MS).unref();
  }

  /** For a block that somebody may still be reading: it is not used again. */
  drop(block: Buffer): void {
    this.#bytes -= block.length;
  }

  #dropSpare(): void {
    for (const block of this.#spare.splice(0)) this.drop(block);
  }
}
