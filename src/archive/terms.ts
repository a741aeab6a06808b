import { DEFAULT_POLICY, type RetentionPolicy } from "../retention/policy.ts";
import type { ReportSource } from "../retention/standby.ts";

/** What the configuration says of a cluster's retention. */
export interface ConfiguredTerms {
  readonly retention?: RetentionPolicy;
  readonly standbys?: ReadonlyMap<string, { readonly conninfo: string | undefined }>;
}

/**
 * On which terms a cluster's WAL is kept. They change while they are in use: whoever decides reads
 * them anew, so that from one moment on every decision is made on the new ones.
 */
export class Terms {
  readonly policy: { -readonly [Key in keyof RetentionPolicy]: RetentionPolicy[Key] };
  /** Names of the configured standbys, and how they are heard from. */
  readonly standbys = new Map<string, ReportSource>();

  constructor(configured: ConfiguredTerms | undefined) {
    this.policy = { ...DEFAULT_POLICY };
    this.replace(configured);
  }

  replace(configured: ConfiguredTerms | undefined): void {
    Object.assign(this.policy, configured?.retention ?? DEFAULT_POLICY);
    this.standbys.clear();
    for (const [name, { conninfo }] of configured?.standbys ?? []) {
      this.standbys.set(name, conninfo === undefined ? "report" : "sql");
    }
  }
}
