/** Clusters that nobody here knows of, and that another daemon may have made meanwhile. */
import { abortable } from "../lifecycle.ts";
import type { ReadableStore, Signalled } from "../store/store.ts";
import { clusterPrefix } from "./keys.ts";

/** The same question is not asked again so soon, and so few are remembered. */
const REMEMBERED_MS = 1000;
const REMEMBERED_MAX = 1000;
const DEADLINE_MS = 10_000;

export class Strangers {
  readonly #store: Pick<ReadableStore, "list">;
  readonly #asked = new Map<
    string,
    { readonly isStored: Promise<boolean>; readonly atMs: number }
  >();

  constructor(store: Pick<ReadableStore, "list">) {
    this.#store = store;
  }

  /** Whether the store has anything of the cluster, or had not a moment ago. */
  async isStored(cluster: string, options: Signalled): Promise<boolean> {
    const nowMs = performance.now();
    for (const [name, { atMs }] of this.#asked) {
      const isOld = nowMs - atMs >= REMEMBERED_MS;
      if (isOld || this.#asked.size >= REMEMBERED_MAX) this.#asked.delete(name);
    }
    let asked = this.#asked.get(cluster);
    if (asked === undefined) {
      asked = { isStored: this.#ask(cluster), atMs: nowMs };
      this.#asked.set(cluster, asked);
    }
    return abortable(asked.isStored, options.signal);
  }

  async #ask(cluster: string): Promise<boolean> {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    for await (const _first of this.#store.list(clusterPrefix(cluster), { signal })) return true;
    return false;
  }
}
