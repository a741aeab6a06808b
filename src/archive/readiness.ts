/** Whether a push could be stored now. Answered from memory: monitoring never waits for a store. */
import { performance } from "node:perf_hooks";
import type { Signalled, Store, StoreRoom } from "../store/store.ts";

export interface Readiness {
  readonly ready: boolean;
  readonly reasons: readonly Reason[];
}

/** Something that an operator has to look at. */
export interface Reason {
  /** In a sentence. */
  readonly text: string;
  /** Where it concerns that one alone: only for those who may read it. */
  readonly cluster?: string | undefined;
}

/** The sentences for somebody who may read these clusters; of others he learns no names. */
export function reasonsFor(
  { reasons }: Readiness,
  isVisible: (cluster: string) => boolean,
): string[] {
  const isShown = ({ cluster }: Reason) => cluster === undefined || isVisible(cluster);
  const shown = reasons.filter(isShown).map(({ text }) => text);
  return shown.length === reasons.length ? shown : [...shown, "another cluster is not ready"];
}

export interface ReadinessOptions {
  readonly store: Pick<Store, "probe">;
  /** Reasons that others know of, such as clusters still loading. */
  readonly others: () => readonly Reason[];
}

/** A probe that has been under way for longer than this is a reason of its own. */
const SILENCE_MS_MAX = 15_000;

/** Red while there is still room to act: below a twentieth of the disk, at most this much. */
const ROOM_BYTES_WANTED = 1024 ** 3;
const ROOM_PART_WANTED = 0.05;

export class ReadinessProbe {
  readonly #options: ReadinessOptions;
  #reasons: readonly string[] = ["the store has not been asked yet"];
  #askedAtMs: number | undefined;
  #room: StoreRoom | undefined;

  constructor(options: ReadinessOptions) {
    this.#options = options;
  }

  /** Asks the store. Never rejects: what fails is what the answer is about. */
  async probe(options: Signalled): Promise<void> {
    this.#askedAtMs ??= performance.now();
    try {
      this.#room = await this.#options.store.probe(options);
      this.#reasons = roomReasons("the store", this.#room);
    } catch (error) {
      this.#room = undefined;
      this.#reasons = [error instanceof Error ? error.message : String(error)];
    }
    this.#askedAtMs = undefined;
  }

  /** What the store had left when it last answered; `undefined` when it does not answer well. */
  get room(): StoreRoom | undefined {
    return this.#room;
  }

  readiness(): Readiness {
    const own = [...this.#reasons, ...this.#silence()].map((text) => ({ text }));
    const reasons = [...own, ...this.#options.others()];
    return { ready: reasons.length === 0, reasons };
  }

  #silence(): string[] {
    const silentMs = this.#askedAtMs === undefined ? 0 : performance.now() - this.#askedAtMs;
    if (silentMs <= SILENCE_MS_MAX) return [];
    return [`the store has not answered for ${Math.round(silentMs / 1000)} s`];
  }
}

/** What is wrong with the room that something has left, while there is still time to act. */
export function roomReasons(what: string, { freeBytes, totalBytes }: StoreRoom): string[] {
  if (freeBytes === undefined || totalBytes === undefined) return [];
  const wantedBytes = Math.min(ROOM_BYTES_WANTED, totalBytes * ROOM_PART_WANTED);
  if (freeBytes >= wantedBytes) return [];
  return [`${what} has ${inMb(freeBytes)} MB left, less than ${inMb(wantedBytes)} MB`];
}

function inMb(bytes: number): number {
  return Math.round(bytes / 1024 ** 2);
}
