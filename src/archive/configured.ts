/** The clusters that the configuration names. */
import type { IntakeOptions } from "./intake.ts";
import { type ConfiguredTerms, Terms } from "./terms.ts";

export interface ConfiguredCluster extends IntakeOptions, ConfiguredTerms {
  readonly systemIdentifier: string | undefined;
}

/** By name; another configuration takes the place of this one while it is in use. */
export class Configured {
  readonly #clusters = new Map<string, ConfiguredCluster>();
  readonly #terms = new Map<string, Terms>();
  /** Clusters that spools feed. */
  readonly #fed: { has(name: string): boolean; keys(): Iterable<string> };

  constructor(
    clusters: ReadonlyMap<string, ConfiguredCluster>,
    fed: { has(name: string): boolean; keys(): Iterable<string> } = new Set<string>(),
  ) {
    this.#fed = fed;
    this.replace(clusters);
  }

  get size(): number {
    return this.#clusters.size;
  }

  has(name: string): boolean {
    return this.#clusters.has(name) || this.#fed.has(name);
  }

  names(): Set<string> {
    return new Set([...this.#clusters.keys(), ...this.#fed.keys()]);
  }

  get(name: string): ConfiguredCluster | undefined {
    return this.#clusters.get(name);
  }

  /** Where clusters are configured, no others are served, whatever the store holds. */
  isDropped(name: string): boolean {
    return this.size > 0 && !this.has(name);
  }

  /** For as long as the daemon runs; what they say changes with the configuration. */
  termsOf(name: string): Terms {
    const terms = this.#terms.get(name) ?? new Terms(this.get(name));
    this.#terms.set(name, terms);
    return terms;
  }

  /** The terms of a cluster that is named no more stay what they were. */
  replace(clusters: ReadonlyMap<string, ConfiguredCluster>): void {
    this.#clusters.clear();
    for (const [name, cluster] of clusters) this.#clusters.set(name, cluster);
    for (const [name, terms] of this.#terms) {
      if (!this.isDropped(name)) terms.replace(this.get(name));
    }
  }
}
