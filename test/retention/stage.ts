import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { Archive } from "../../src/archive/archive.ts";
import { DEFAULT_POLICY, type RetentionPolicy } from "../../src/retention/policy.ts";
import type { Retention } from "../../src/retention/retention.ts";
import { DiskStore } from "../../src/store/disk.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { removableNames } from "../../src/wal/retention.ts";
import { makeSegment, MIB, type MadeFile, type SegmentWish } from "../support/wal-maker.ts";

export const signal = new AbortController().signal;

export interface StageOptions {
  readonly policy?: Partial<RetentionPolicy>;
  readonly standbys?: readonly string[];
}

/** An archive of cluster "main" on a disk store in a directory of its own. */
export class Stage implements AsyncDisposable {
  readonly directory: string;
  readonly logLines: Record<string, unknown>[] = [];
  store!: DiskStore;
  archive!: Archive;
  #options: StageOptions;

  private constructor(directory: string, options: StageOptions) {
    this.directory = directory;
    this.#options = options;
  }

  static async open(options: StageOptions = {}): Promise<Stage> {
    const stage = new Stage(await mkdtemp(join(tmpdir(), "walarc-retention-")), options);
    await stage.#start();
    return stage;
  }

  /** A clean stop and a new start, with other options where they are given. */
  async restart(options: StageOptions = this.#options): Promise<void> {
    await this.#stop();
    this.#options = options;
    await this.#start();
  }

  get retention(): Promise<Retention> {
    return this.archive.retention("main", { signal });
  }

  async push(...files: MadeFile[]): Promise<void> {
    for (const { name, bytes } of files) {
      const body = (async function* () {
        yield bytes;
      })();
      const options = { sizeBytes: bytes.length, signal };
      await this.archive.push("main", requireWalName(name), body, options);
    }
  }

  /** Segments of timeline 1, from `first` to `last`. */
  async pushSegments(first: number, last: number): Promise<void> {
    for (let number = first; number <= last; number += 1) await this.push(segment(number));
  }

  async report(standby: string, number: number, timeline = 1): Promise<void> {
    const { register } = await this.retention;
    await register.report(standby, segmentText(number, timeline), { source: "report", signal });
  }

  async hold(name: string, number: number, until?: Date): Promise<void> {
    const { register } = await this.retention;
    await register.putHold(name, { from: segmentText(number), until, signal });
  }

  /** Names that a prune would remove now. */
  async plan(): Promise<string[]> {
    const plan = await (await this.retention).plan({ signal });
    return [...removableNames(plan)].map(({ text }) => text);
  }

  /** Names that a prune has removed. */
  async prune(): Promise<string[]> {
    const plan = await (await this.retention).prune({ signal });
    return [...removableNames(plan)].map(({ text }) => text);
  }

  /** Names of the archive as a restarted daemon would find them, read from the store. */
  async stored(): Promise<string[]> {
    const names: string[] = [];
    for await (const { key } of this.store.list("clusters/main/wal/", { signal })) {
      names.push(key.slice(key.lastIndexOf("/") + 1));
    }
    return names.sort();
  }

  async listed(): Promise<string[]> {
    const { files } = await this.archive.page("main", { limit: 1000, signal });
    return files.map(({ name }) => name);
  }

  async status() {
    return this.archive.status("main", { signal });
  }

  logged(message: string): Record<string, unknown>[] {
    return this.logLines.filter((line) => line["msg"] === message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
    await rm(this.directory, { recursive: true });
  }

  async #start(): Promise<void> {
    const { policy, standbys = [] } = this.#options;
    this.store = await DiskStore.open(join(this.directory, "store"));
    const write = (text: string) => {
      this.logLines.push(JSON.parse(text) as Record<string, unknown>);
    };
    const configured = {
      systemIdentifier: undefined,
      retention: { ...DEFAULT_POLICY, ...policy },
      standbys: new Map(standbys.map((name) => [name, { conninfo: undefined }])),
    };
    this.archive = await Archive.open({
      store: this.store,
      log: pino({ level: "debug" }, { write }),
      compressionLevel: 1,
      clusters: new Map([["main", configured]]),
      signal,
    });
  }

  async #stop(): Promise<void> {
    await this.archive[Symbol.asyncDispose]();
    await this.store[Symbol.asyncDispose]();
  }
}

/** One megabyte. */
export function segment(number: number, wish: Partial<SegmentWish> = {}): MadeFile {
  return makeSegment({ number, segmentSizeBytes: MIB, content: "sparse", ...wish });
}

export function segmentText(number: number, timeline = 1): string {
  const hex = (value: number) => value.toString(16).toUpperCase().padStart(8, "0");
  return hex(timeline) + hex(Math.floor(number / 4096)) + hex(number % 4096);
}

/** Names of timeline 1. */
export function segmentTexts(first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, index) => segmentText(first + index));
}
