import { RawConnection, type Target } from "./raw-connection.ts";

/** So long a connection that was closed stays away. */
const PAUSE_MS = 500;

/**
 * Connections that are held against the daemon's will: whenever one of them is closed, another one
 * takes its place. A third says nothing, a third dribbles a head, and a third a body.
 */
export class Flood implements Disposable {
  readonly #target: Target;
  readonly #held = new Set<RawConnection>();
  readonly #dribble: NodeJS.Timeout;
  #isOver = false;

  private constructor(target: Target) {
    this.#target = target;
    this.#dribble = setInterval(() => {
      for (const one of this.#held) if (one.socket.writable) one.say("x");
    }, 3000);
  }

  /** Resolves when all of them have connected once. */
  static async open(target: Target, { connections }: { connections: number }): Promise<Flood> {
    const flood = new Flood(target);
    const all = Array.from({ length: connections }, (_, at) => flood.#hold(at));
    await Promise.all(all.map(({ opened, closed }) => Promise.race([opened, closed])));
    return flood;
  }

  /** How many are connected at the moment. */
  get count(): number {
    return [...this.#held].filter(({ socket }) => socket.readyState === "open").length;
  }

  #hold(at: number): RawConnection {
    const one = new RawConnection(this.#target);
    this.#held.add(one);
    const head = "PUT /v1/clusters/main/wal/000000010000000000000001 HTTP/1.1\r\nhost: x\r\nx: ";
    void one.opened.then(() => {
      if (at % 3 === 1) one.say(head);
      if (at % 3 === 2) one.say(`${head}y\r\ncontent-length: 1000000\r\n\r\n`);
    });
    void one.closed.then(() => {
      this.#held.delete(one);
      if (!this.#isOver) setTimeout(() => !this.#isOver && this.#hold(at), PAUSE_MS);
    });
    return one;
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    clearInterval(this.#dribble);
    for (const one of this.#held) one[Symbol.dispose]();
  }
}
