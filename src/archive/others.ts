/**
 * What other daemons do to the archive of a cluster in a store that is shared: they archive, prune
 * and bind. The catalog learns of it now and then, and whenever something depends on it.
 */
import { setTimeout as delay } from "node:timers/promises";
import { abortable } from "../lifecycle.ts";
import type { Marks } from "../retention/lease-record.ts";
import { goneUpTo } from "../retention/lease-record.ts";
import type { Signalled } from "../store/store.ts";
import type { PlacedName, WalName } from "../wal/name.ts";
import type { ClusterArchive } from "./cluster.ts";
import { Survey } from "./survey.ts";

/** As many names as a bucket lists with one request; what comes late is mostly among them. */
const RECENT_SEGMENTS = 900;
/** All is looked at as often as this, and less often the more it is. */
const ALL_INTERVAL_MS = 600_000;
const ALL_INTERVAL_MS_PER_FILE = 10;
/** Misses are looked into no more often, however many ask. */
const MISS_INTERVAL_MS = 100;
const MISS_DEADLINE_MS = 30_000;
/** The last of all positions. */
const END = "F".repeat(16);

export class Others {
  readonly #cluster: ClusterArchive;
  readonly #surveys = new Set<Survey>();
  /** Of the last survey of what is about to be removed: stored bytes by name. */
  #sizes: ReadonlyMap<string, number> = new Map();
  readonly #misses = new Map<string, Promise<void>>();
  #missTurn: Promise<void> = Promise.resolve();
  #lookedAtAllMs = performance.now();
  #marks: Marks | undefined;

  constructor(cluster: ClusterArchive) {
    this.#cluster = cluster;
  }

  /** Takes note that this daemon itself archived or removed a file. */
  touch(name: WalName): void {
    for (const survey of this.#surveys) survey.touched.add(name.text);
  }

  /** Stored bytes of a file, where they were just listed. */
  storedBytesOf(name: WalName): number | undefined {
    return this.#sizes.get(name.text);
  }

  /** Learns what there is up to a position. Nothing to learn where there are no others. */
  async relearn(upTo: string, options: Signalled): Promise<void> {
    if (!this.#cluster.store.isShared) return;
    await this.#survey(async (survey) => {
      await survey.upTo(upTo, options);
      this.#sizes = survey.sizes;
      await this.#forgetPruned(survey, upTo, options);
    }, options);
  }

  /** Learns what there is at the end of each timeline, and which timelines there are. */
  async relearnEnds(options: Signalled): Promise<void> {
    if (!this.#cluster.store.isShared) return;
    await this.#survey((survey) => survey.ends(RECENT_SEGMENTS, options), options);
  }

  /**
   * Learns what has to be known before a file that is not stored is called absent. The look begins
   * after this call, and is one for all who ask for the same name at once.
   */
  async relearnMiss(name: WalName, options: Signalled): Promise<void> {
    let look = this.#misses.get(name.text);
    if (look === undefined) {
      look = this.#missTurn.then(() => this.#lookAfter(name));
      this.#misses.set(name.text, look);
      this.#missTurn = look.catch(() => {}).then(() => delay(MISS_INTERVAL_MS));
    }
    await abortable(look, options.signal);
  }

  /** Whether a file that is gone was pruned, by another daemon; then the catalog forgets it. */
  async isPruned(name: WalName, options: Signalled): Promise<boolean> {
    if (name.kind === "history") return false;
    const marks = await this.#cluster.retention.readMarks(options);
    const gone = marks && goneUpTo(marks);
    if (gone === undefined || name.position > gone) return false;
    this.#forget([name]);
    return true;
  }

  /** What has to be learned from time to time, so that all daemons tell the same. */
  async look(options: Signalled): Promise<void> {
    const nowMs = performance.now();
    const { files } = this.#cluster.catalog;
    const intervalMs = Math.max(ALL_INTERVAL_MS, files * ALL_INTERVAL_MS_PER_FILE);
    if (nowMs - this.#lookedAtAllMs >= intervalMs) {
      await this.#lookAtAll(options);
      this.#lookedAtAllMs = nowMs;
      return;
    }
    await this.relearnEnds(options);
    const marks = await this.#cluster.retention.readMarks(options);
    const gone = marks && goneUpTo(marks);
    const isNews = gone !== undefined && gone !== (this.#marks && goneUpTo(this.#marks));
    if (isNews || marks?.removingUpTo !== undefined) await this.relearn(gone ?? "", options);
    this.#marks = marks;
  }

  async #lookAtAll(options: Signalled): Promise<void> {
    await this.#survey(async (survey) => {
      await survey.upTo(END, options);
      await this.#forgetPruned(survey, END, options);
      if (survey.touched.size === 0) this.#cluster.totals.storedBytes = survey.storedBytes;
    }, options);
  }

  async #lookAfter(name: WalName): Promise<void> {
    this.#misses.delete(name.text);
    const signal = AbortSignal.timeout(MISS_DEADLINE_MS);
    await this.#survey((survey) => survey.after(name, { signal }), { signal });
  }

  async #survey(look: (survey: Survey) => Promise<void>, options: Signalled): Promise<void> {
    const survey = new Survey(this.#cluster);
    this.#surveys.add(survey);
    try {
      await look(survey);
    } finally {
      this.#surveys.delete(survey);
      this.#noteArrivals(survey);
    }
    await this.#cluster.relearnLatest(options);
  }

  #noteArrivals({ arrived }: Survey): void {
    for (const { first, last } of arrived.ranges()) {
      this.#cluster.retention.register.arrivedElsewhere(first, last);
    }
  }

  /** Nothing vanishes for good reason but what the marks cover, which were there before. */
  async #forgetPruned(survey: Survey, upTo: string, options: Signalled): Promise<void> {
    const vanished = survey.vanished(upTo);
    const first = vanished.next();
    if (first.done === true) return;
    const marks = await this.#cluster.retention.readMarks(options);
    const gone = (marks && goneUpTo(marks)) ?? "";
    const isPruned = ({ position }: PlacedName) => position <= gone;
    this.#forget([first.value, ...vanished].filter(isPruned));
  }

  #forget(names: readonly PlacedName[]): void {
    const { catalog, totals } = this.#cluster;
    for (const name of names) {
      if (!catalog.holds(name)) continue;
      totals.forget(this.#cluster.catalog.files);
      catalog.remove(name);
      this.#cluster.damaged.delete(name.text);
      this.#cluster.lost.delete(name.text);
    }
  }
}
