/** Memory for the contents of whole frames. */

/** What nobody has asked for by then is given back to the system. */
const KEPT_MS = 10_000;

/** Disposed, it is somebody else's. */
export interface ContentBlock extends Disposable {
  readonly memory: Buffer;
}

/**
 * So many bytes in all, used again and again, and shared between threads. New memory for each
 * segment is counted by V8, which then collects garbage at every other one: 14 ms of CPU.
 */
export class ContentBlocks {
  readonly #spare: Buffer[] = [];
  readonly #bytes: number;
  /** Each takes what it waits for if that is there now. */
  #waiting: (() => void)[] = [];
  #freeBytes: number;
  #release: NodeJS.Timeout | undefined;

  constructor(bytes: number) {
    this.#bytes = bytes;
    this.#freeBytes = bytes;
  }

  /** As `take`; waits in turn for what others have, but no longer than `patienceMs`. */
  async takeSoon(sizeBytes: number, patienceMs: number): Promise<ContentBlock | undefined> {
    const block = this.#waiting.length === 0 ? this.take(sizeBytes) : undefined;
    if (block !== undefined || sizeBytes > this.#bytes) return block;
    return await new Promise((resolve) => {
      const end = (given: ContentBlock | undefined) => {
        clearTimeout(deadline);
        this.#waiting = this.#waiting.filter((one) => one !== waiter);
        resolve(given);
      };
      const waiter = () => {
        const given = this.take(sizeBytes);
        if (given !== undefined) end(given);
      };
      const deadline = setTimeout(() => end(undefined), patienceMs);
      this.#waiting.push(waiter);
    });
  }

  /** `undefined` where there is no room now. */
  take(sizeBytes: number): ContentBlock | undefined {
    const memory = this.#find(sizeBytes);
    if (memory === undefined) return undefined;
    let isTaken = true;
    return {
      memory,
      [Symbol.dispose]: () => {
        if (isTaken) this.#giveBack(memory);
        isTaken = false;
      },
    };
  }

  #find(sizeBytes: number): Buffer | undefined {
    const at = this.#spare.findIndex(({ length }) => length === sizeBytes);
    if (at >= 0) return this.#spare.splice(at, 1)[0];
    if (sizeBytes > this.#freeBytes) this.#dropSpare();
    if (sizeBytes > this.#freeBytes) return undefined;
    this.#freeBytes -= sizeBytes;
    return Buffer.from(new SharedArrayBuffer(sizeBytes));
  }

  #giveBack(memory: Buffer): void {
    this.#spare.push(memory);
    clearTimeout(this.#release);
    this.#release = setTimeout(() => this.#dropSpare(), KEPT_MS).unref();
    this.#waiting[0]?.();
  }

  #dropSpare(): void {
    for (const { length } of this.#spare.splice(0)) this.#freeBytes += length;
  }
}
