import { RawConnection, type Target } from "./raw-connection.ts";

/** So long a connection that was closed stays away. */
const PAUSE_MS = 500;

/**
 * Connections that are held against the daemon's will: whenever one of them is closed, another one
 * takes its place. Half of them say nothing, the others dribble a head and a few of them a body;
 * those are refused at once, and come back.
 */
export class Flood implements Disposable {
  readonly #target: Target;
  readonly #held = new Set<RawConnection>();
  /** Those on which a head is dribbled. */
  readonly #slow = new Set<RawConnection>();
  readonly #dribble: NodeJS.Timeout;
  #isOver = false;

  private constructor(target: Target) {
    this.#target = target;
    this.#dribble = setInterval(() => {
      for (const one of this.#slow) if (one.socket.writable) one.say("x");
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
      if (at % 50 === 1) one.say(`${head}y\r\ncontent-length: 1000000\r\n\r\n`);
      else if (at % 2 === 1) {
        one.say(head);
        this.#slow.add(one);
      }
    });
    void one.closed.then(() => {
      this.#held.delete(one);
      this.#slow.delete(one);
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
