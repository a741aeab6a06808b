import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { Archive } from "../../src/archive/archive.ts";
import type { ConfiguredCluster } from "../../src/archive/configured.ts";
import type { PushResult } from "../../src/archive/push.ts";
import { DiskStore } from "../../src/store/disk.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { makeSegment, MIB, type MadeFile, type SegmentWish } from "./wal-maker.ts";

const { signal } = new AbortController();

/** Segments of 1 MB. */
export function segment(number: number, wish: Partial<SegmentWish> = {}): MadeFile {
  return makeSegment({ number, segmentSizeBytes: MIB, content: "mixed", ...wish });
}

/** An archive over a disk store in a temporary directory. */
export class ArchiveScene implements AsyncDisposable {
  readonly root: string;
  store!: DiskStore;
  archive!: Archive;

  private constructor(root: string) {
    this.root = root;
  }

  static async open(): Promise<ArchiveScene> {
    const scene = new ArchiveScene(await mkdtemp(join(tmpdir(), "walarc-archive-")));
    await scene.#start([]);
    return scene;
  }

  /** With these clusters configured. */
  async restart(clusters: [string, ConfiguredCluster][] = []): Promise<void> {
    await this.#stop();
    await this.#start(clusters);
  }

  push(
    file: MadeFile,
    options: { cluster?: string; told?: string; sha256?: string } = {},
  ): Promise<PushResult> {
    const name = requireWalName(file.name);
    return this.archive.push(options.cluster ?? "main", name, streamed(file.bytes), {
      sizeBytes: file.bytes.length,
      systemIdentifier: options.told,
      sha256: options.sha256,
      signal,
    });
  }

  async fetch(name: string, told?: string): Promise<Buffer> {
    const options = { signal, systemIdentifier: told };
    await using verified = await this.archive.fetch("main", requireWalName(name), options);
    return Buffer.concat(await Array.fromAsync(verified.plain()));
  }

  objectPath(name: string): string {
    const log = name.endsWith(".history") ? [] : [name.slice(8, 16)];
    return this.path("wal", name.slice(0, 8), ...log, name);
  }

  /** Below the directory of cluster main. */
  path(...parts: string[]): string {
    return join(this.root, "store/clusters/main", ...parts);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
    await rm(this.root, { recursive: true });
  }

  async #start(clusters: [string, ConfiguredCluster][]): Promise<void> {
    this.store = await DiskStore.open(join(this.root, "store"));
    this.archive = await Archive.open({
      store: this.store,
      log: pino({ level: "silent" }),
      compressionLevel: 1,
      clusters: new Map(clusters),
      signal,
    });
  }

  async #stop(): Promise<void> {
    await this.archive[Symbol.asyncDispose]();
    await this.store[Symbol.asyncDispose]();
  }
}

async function* streamed(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 60_000) yield bytes.subarray(at, at + 60_000);
}
