/** A counted gate: so many may be inside at once, the others wait in order. */
export class Gate {
  #free: number;
  readonly #waiting: { enter: () => void }[] = [];

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
    const next = this.#waiting.shift();
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
