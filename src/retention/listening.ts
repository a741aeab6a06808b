/**
 * What this process has itself heard of the standbys, or rather: for how long nothing new. A report
 * may reach another daemon, whose count of the time differs; so it ends the silence when it is read
 * here, whatever time it names.
 */
import type { ServiceTime } from "./service-time.ts";
import type { StandbyRecord } from "./standby.ts";

type Records = ReadonlyMap<string, StandbyRecord | "damaged">;

interface Heard {
  readonly what: string;
  /** In the time since this daemon started. */
  readonly atMs: number;
  /** It came while we ran; else it was there when we started, and is older. */
  readonly isNews: boolean;
}

export class Listening {
  readonly #time: ServiceTime;
  readonly #heard = new Map<string, Heard>();
  #hasSeen = false;

  constructor(time: ServiceTime) {
    this.#time = time;
  }

  /** Takes note of what the store says of all standbys. */
  saw(records: Records): void {
    for (const name of this.#heard.keys()) if (!records.has(name)) this.#heard.delete(name);
    for (const [name, record] of records) this.#note(name, record);
    this.#hasSeen = true;
  }

  /** Takes note of what a standby has just told this daemon. */
  heard(name: string, record: StandbyRecord): void {
    this.#note(name, record);
  }

  /** Milliseconds without news of the standby. */
  silentMs(name: string): { readonly silentMs: number; readonly isSinceNews: boolean } {
    const { atMs = 0, isNews = false } = this.#heard.get(name) ?? {};
    return { silentMs: this.#time.sinceStart() - atMs, isSinceNews: isNews };
  }

  #note(name: string, record: StandbyRecord | "damaged"): void {
    const what = record === "damaged" ? record : sayingOf(record);
    if (this.#heard.get(name)?.what === what) return;
    this.#heard.set(name, { what, atMs: this.#time.sinceStart(), isNews: this.#hasSeen });
  }
}

function sayingOf({ restartPoint, reportedAt, heardMs, source, role }: StandbyRecord): string {
  return [restartPoint?.text, reportedAt, heardMs, source, role].join(" ");
}
