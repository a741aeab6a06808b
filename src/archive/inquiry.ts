/** The daemon asks a standby itself for its restart point, where the configuration says how. */
import { performance } from "node:perf_hooks";
import { WalarcError } from "../errors.ts";
import type { Signalled } from "../store/store.ts";
import type { ClusterArchive } from "./cluster.ts";

/** What a server says of itself. */
export interface ServerAnswer {
  readonly role: "standby" | "primary";
  /** Decimal. */
  readonly systemIdentifier: string;
  readonly restartPoint: string;
}

/** Rejects with a `WalarcError` when there is no answer. */
export type Ask = (options: Signalled) => Promise<ServerAnswer>;

const PAUSE_MS_MAX = 300_000;

/**
 * One standby that is asked again and again. Whatever goes wrong is remembered as its trouble, and
 * its claim stays what it was. After failures it is asked less often.
 */
export class Inquiry {
  readonly #cluster: ClusterArchive;
  readonly #standby: string;
  readonly #ask: Ask;
  #failures = 0;
  #notBeforeMs = 0;

  constructor(cluster: ClusterArchive, standby: string, ask: Ask) {
    this.#cluster = cluster;
    this.#standby = standby;
    this.#ask = ask;
  }

  async step(options: Signalled): Promise<void> {
    if (performance.now() < this.#notBeforeMs) return;
    try {
      await this.#inquire(options);
      this.#failures = 0;
    } catch (error) {
      options.signal.throwIfAborted();
      if (!(error instanceof WalarcError)) throw error;
      this.#cluster.retention.register.reportTrouble(this.#standby, error.message);
      const { intervalMs } = this.#cluster.retention;
      const pauseMs = Math.min(
        intervalMs * 2 ** this.#failures,
        Math.max(intervalMs, PAUSE_MS_MAX),
      );
      // A little less, or the next step would come just too early.
      this.#notBeforeMs = performance.now() + pauseMs * 0.9;
      this.#failures += 1;
    }
  }

  async #inquire(options: Signalled): Promise<void> {
    const { binding, retention, catalog } = this.#cluster;
    // Nothing to compare with and nothing to keep.
    if (binding.systemIdentifier === undefined || catalog.segments === 0) return;
    const answer = await this.#ask(options);
    if (answer.systemIdentifier !== binding.systemIdentifier) {
      throw new WalarcError(
        "rejected",
        `it belongs to another database cluster: its system identifier is ` +
          `${answer.systemIdentifier}, not ${binding.systemIdentifier}`,
      );
    }
    if (answer.role === "primary") {
      await retention.register.reportPrimary(this.#standby, options);
      return;
    }
    const told = { ...options, source: "sql" } as const;
    await retention.register.report(this.#standby, answer.restartPoint, told);
  }
}
