import { createHash } from "node:crypto";
import { constants, zstdCompressSync } from "node:zlib";
import type { Page } from "../../src/archive/listing.ts";
import type { PushOptions, PushResult } from "../../src/archive/push.ts";
import type { ClusterStatus } from "../../src/archive/status.ts";
import { WalarcError } from "../../src/errors.ts";
import type { WalArchive } from "../../src/http/wal-archive.ts";
import type { Retention } from "../../src/retention/retention.ts";
import type { VerifiedObject } from "../../src/object/verify.ts";
import { parseWalName, type WalName } from "../../src/wal/name.ts";

/** Runs before a push or fetch is answered, with its signal; it may wait or reject. */
type Hook = (signal: AbortSignal) => Promise<void>;

/**
 * An archive in memory. It keeps bytes and checks digests; what is no segment to PostgreSQL is one
 * here, so that tests of HTTP can use small bodies.
 */
export class MemoryArchive implements WalArchive {
  readonly files = new Map<string, Map<string, Buffer>>();
  /** Bodies read so far, also of pushes that failed later. */
  readBytes = 0;
  /** Objects handed out and not disposed yet. */
  openObjects = 0;
  /** Objects ever handed out. */
  openedObjects = 0;
  claims: Retention | undefined;
  beforePush: Hook | undefined;
  beforeBody: Hook | undefined;
  beforeFetch: Hook | undefined;
  beforeStatus: Hook | undefined;
  /** Larger pieces make an answer outgrow the buffers of a socket. */
  pieceBytes = 64 * 1024;

  constructor(...clusters: readonly string[]) {
    for (const cluster of clusters) this.files.set(cluster, new Map());
  }

  async push(
    cluster: string,
    name: WalName,
    body: AsyncIterable<Buffer>,
    options: PushOptions,
  ): Promise<PushResult> {
    const { signal, sizeBytes } = options;
    await this.beforeBody?.(signal);
    const chunks: Buffer[] = [];
    for await (const chunk of body) {
      this.readBytes += chunk.length;
      chunks.push(Buffer.from(chunk)); // Borrowed until the next one is asked for.
    }
    await this.beforePush?.(signal);
    const bytes = Buffer.concat(chunks);
    if (sizeBytes !== undefined && sizeBytes !== bytes.length) throw new Error("not as announced");
    const sha256 = digestOf(bytes);
    if (options.sha256 !== undefined && options.sha256 !== sha256) {
      throw new WalarcError("rejected", "the body does not have the digest that it came with");
    }
    if (options.systemIdentifier === "666") {
      throw new WalarcError("rejected", "another system identifier", { hint: "whose file is it?" });
    }
    const files = this.files.get(cluster) ?? new Map<string, Buffer>();
    const archived = files.get(name.text);
    if (archived !== undefined && !archived.equals(bytes)) {
      if (name.kind === "partial")
        return { outcome: "kept-aside", sha256, sizeBytes: bytes.length, storedBytes: 0 };
      throw new WalarcError("conflict", `${name.text} is archived with different content`);
    }
    files.set(name.text, bytes);
    this.files.set(cluster, files);
    const result = { sha256, sizeBytes: bytes.length };
    if (archived !== undefined) return { ...result, outcome: "already-archived", storedBytes: 0 };
    return { ...result, outcome: "archived", storedBytes: bytes.length };
  }

  async fetch(
    cluster: string,
    name: WalName,
    options: { systemIdentifier?: string | undefined; signal: AbortSignal },
  ): Promise<VerifiedObject> {
    const bytes = this.#require(cluster).get(name.text);
    if (options.systemIdentifier === "666") {
      throw new WalarcError("rejected", "another system identifier");
    }
    await this.beforeFetch?.(options.signal);
    if (bytes === undefined) throw new WalarcError("absent", `${name.text} is not in the archive`);
    return this.#open(name, bytes);
  }

  async page(
    cluster: string,
    options: { after?: string | undefined; limit: number },
  ): Promise<Page> {
    const { after = "", limit } = options;
    const names = [...this.#require(cluster).keys()].filter((name) => name > after).sort();
    const files = names.slice(0, limit).map((name) => ({
      name,
      kind: parseWalName(name)?.kind ?? "segment",
      sizeBytes: 0,
      storedBytes: 0,
      sha256: null,
      archivedAt: null,
    }));
    return { files, next: names.length > limit ? (files.at(-1)?.name ?? null) : null };
  }

  /** Nothing here has a data directory. */
  async pushLocal(): Promise<never> {
    throw new WalarcError("usage", "no data directory");
  }

  /** Claims need a real archive: one that a test brings along. */
  async retention(): Promise<Retention> {
    if (this.claims === undefined) throw new Error("no claims in memory");
    return this.claims;
  }

  async status(cluster: string, options: { signal: AbortSignal }): Promise<ClusterStatus> {
    const files = this.#require(cluster);
    if (cluster === "sick") await this.beforeStatus?.(options.signal);
    return {
      cluster,
      systemIdentifier: null,
      segmentSizeBytes: null,
      latest: null,
      stored: { files: files.size, bytes: 0, plainBytes: 0 },
      timelines: [],
      damaged: [],
      conflicts: 0,
      claims: [],
      horizon: null,
      heldBy: [],
      explanation: "nothing may be removed",
    };
  }

  clusters(): string[] {
    return [...this.files.keys()].sort();
  }

  #require(cluster: string): Map<string, Buffer> {
    const files = this.files.get(cluster);
    if (files === undefined) {
      throw new WalarcError("unknown-cluster", `there is no cluster "${cluster}"`);
    }
    return files;
  }

  #open(name: WalName, bytes: Buffer): VerifiedObject {
    const frame = zstdCompressSync(bytes, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
    const { text, timeline } = name;
    this.openObjects += 1;
    this.openedObjects += 1;
    return {
      metadata: {
        name: text,
        sha256: digestOf(bytes),
        sizeBytes: bytes.length,
        systemIdentifier: null,
        timeline,
        archivedAt: "2026-01-01T00:00:00.000Z",
      },
      frameBytes: frame.length,
      frame: () => this.#pieces(frame),
      plain: () => this.#pieces(bytes),
      [Symbol.asyncDispose]: async () => {
        this.openObjects -= 1;
      },
    };
  }

  async *#pieces(bytes: Buffer): AsyncGenerator<Buffer, void, void> {
    for (let at = 0; at < bytes.length; at += this.pieceBytes) {
      yield bytes.subarray(at, at + this.pieceBytes);
    }
  }
}

export function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
