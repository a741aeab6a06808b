/** Taking over a new configuration while the daemon serves. */
import type { Logger } from "pino";
import type { Archive } from "./archive/archive.ts";
import type { ConfiguredCluster } from "./archive/configured.ts";
import type { Upkeep } from "./archive/upkeep.ts";
import { takeOver } from "./config/changes.ts";
import type { Config } from "./config/config.ts";
import { WalarcError } from "./errors.ts";
import type { Listeners } from "./listeners.ts";
import type { Spools } from "./spools.ts";
import type { Metrics } from "./telemetry/metrics.ts";

/** The parts of a daemon that a configuration is about. */
export interface ReloadedParts {
  readonly listeners: Listeners;
  readonly archive: Archive;
  readonly upkeep: Upkeep;
  readonly spools: Spools;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly clustersOf: (config: Config) => ReadonlyMap<string, ConfiguredCluster>;
}

/** How another configuration takes the place of the one that counts. */
export class Reloading {
  /** Whoever looks here finds the one that counts. */
  readonly #current: { config: Config };
  readonly #parts: ReloadedParts;

  constructor(current: { config: Config }, parts: ReloadedParts) {
    this.#current = current;
    this.#parts = parts;
    this.#note("successful");
  }

  /**
   * Takes over what `read` resolves to: all of it, or, when it cannot be used, nothing. Whichever
   * it is is told in the log and by a metric. Never two at a time. Requests under way are not
   * disturbed; those that come later are judged by the new rules.
   */
  async reload(read: () => Promise<Config>): Promise<void> {
    const { log, spools } = this.#parts;
    let next: Config;
    try {
      next = await read();
      await spools.check(next.spools);
    } catch (error) {
      if (!(error instanceof WalarcError)) throw error;
      const { message: why, hint } = error;
      log.error({ why, hint }, "configuration not reloaded, the old one is kept");
      this.#note("failed");
      return;
    }
    const { config, needsRestart } = takeOver(this.#current.config, next);
    for (const warning of next.warnings) {
      if (!this.#current.config.warnings.includes(warning)) log.warn(warning);
    }
    await this.#apply(config);
    if (needsRestart.length > 0) {
      log.warn({ keys: needsRestart }, "changed keys stay what they were until a restart");
    }
    log.info("configuration reloaded");
    this.#note("successful");
  }

  /** Rights first: what was revoked is over before anything else is waited for. */
  async #apply(config: Config): Promise<void> {
    const { listeners, archive, upkeep, spools, log } = this.#parts;
    this.#current.config = config;
    listeners.replaceRules(config);
    log.level = config.log.level;
    if (config.server.tls !== undefined) await listeners.tls?.reload(config.server.tls);
    // No prune goes on with claims that are about to change.
    const paused = await upkeep.pause();
    try {
      spools.expect(config.spools);
      archive.reconfigure(this.#parts.clustersOf(config));
      await spools.replace(config.spools, this.#parts);
    } finally {
      paused.goOn();
    }
  }

  #note(outcome: "successful" | "failed"): void {
    const { reloadSuccessful, reloadSuccessTime } = this.#parts.metrics;
    reloadSuccessful.set(outcome === "successful" ? 1 : 0);
    if (outcome === "successful") reloadSuccessTime.setToCurrentTime();
  }
}
