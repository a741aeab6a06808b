/**
 * A counted gate: so many may be inside at once, and the others wait. By turns the one that came
 * first and the one that came last are let in: so none waits for ever, and a crowd that came to
 * stand there does not keep out whoever comes after it.
 */
export class Gate {
  #free: number;
  readonly #waiting: { enter: () => void }[] = [];
  #isFirstsTurn = false;

  constructor(places: number) {
    this.#free = places;
  }

  /**
   * Resolves to the way out; disposing it lets the next one in. Rejects when `signal` aborts first.
   */
  async enter(options: { signal: AbortSignal }): Promise<Disposable> {
    options.signal.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#wait(options.signal);
    let inside = true;
    return {
      [Symbol.dispose]: () => {
        if (inside) this.#leave();
        inside = false;
      },
    };
  }

  #leave(): void {
    this.#isFirstsTurn = !this.#isFirstsTurn;
    const next = this.#isFirstsTurn ? this.#waiting.shift() : this.#waiting.pop();
    if (next === undefined) this.#free += 1;
    else next.enter();
  }

  #wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const place = {
        enter: () => {
          signal.removeEventListener("abort", abandon);
          resolve();
        },
      };
      const abandon = () => {
        this.#waiting.splice(this.#waiting.indexOf(place), 1);
        reject(signal.reason);
      };
      signal.addEventListener("abort", abandon, { once: true });
      this.#waiting.push(place);
    });
  }
}
