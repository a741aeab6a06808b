/** Memory that several share. */

/** A part of it; disposed, others may have it. */
export interface Room extends Disposable {
  readonly bytes: number;
}

/** So many bytes in all; who finds no room does without. */
export class ByteBudget {
  #freeBytes: number;

  constructor(bytes: number) {
    this.#freeBytes = bytes;
  }

  take(bytes: number): Room | undefined {
    if (bytes > this.#freeBytes) return undefined;
    this.#freeBytes -= bytes;
    let isTaken = true;
    return {
      bytes,
      [Symbol.dispose]: () => {
        if (isTaken) this.#freeBytes += bytes;
        isTaken = false;
      },
    };
  }
}
