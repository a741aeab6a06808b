/** The bodies of pushes under way: whose comes too slowly makes room for who waits. */
import type { RequestBody } from "./request-body.ts";

const LOOK_MS = 100;
/** So long a client may be waited for, however little comes. */
const PATIENCE_MS = 500;
/** Slower than this a segment of 16 MB would not arrive within the deadline of a push. */
const BYTES_PER_MS_MIN = 256;

/**
 * A push holds one of a few places from its body's first byte to its last. So a handful of clients
 * that send almost nothing could hold all of them, and nobody else would archive. While a push
 * waits for a place, those that are slow are ended; PostgreSQL tries them again.
 */
export class Bodies {
  readonly #underWay = new Map<RequestBody, string>();
  #timer: NodeJS.Timeout | undefined;

  /** Until disposed, the body is one of the cluster's under way. */
  enter(body: RequestBody, cluster: string): Disposable {
    this.#underWay.set(body, cluster);
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref();
    return {
      [Symbol.dispose]: () => {
        this.#underWay.delete(body);
        if (this.#underWay.size > 0) return;
        clearInterval(this.#timer);
        this.#timer = undefined;
      },
    };
  }

  #look(): void {
    const waiting = new Set<string>();
    for (const [body, cluster] of this.#underWay) if (!body.isBegun) waiting.add(cluster);
    if (waiting.size === 0) return;
    const slow = [...this.#underWay].filter(([body]) => isSlow(body));
    const own = slow.filter(([, cluster]) => waiting.has(cluster));
    // A cluster that has none of its own in the way waits for those of others.
    for (const [body] of own.length > 0 ? own : slow) body.giveWay();
  }
}

function isSlow({ isBegun, waitedMs, receivedBytes }: RequestBody): boolean {
  return isBegun && waitedMs >= PATIENCE_MS && receivedBytes < waitedMs * BYTES_PER_MS_MIN;
}
