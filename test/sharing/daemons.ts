import { pino } from "pino";
import { Archive } from "../../src/archive/archive.ts";
import { writeBinding } from "../../src/archive/binding.ts";
import type { ClusterArchive } from "../../src/archive/cluster.ts";
import { walKey } from "../../src/archive/keys.ts";
import { isFailure } from "../../src/errors.ts";
import { encodeObject } from "../../src/object/encode.ts";
import type { HoldStatus } from "../../src/retention/overview.ts";
import { holdStatuses, standbyStatuses } from "../../src/retention/overview.ts";
import { DEFAULT_POLICY, type RetentionPolicy } from "../../src/retention/policy.ts";
import type { Retention } from "../../src/retention/retention.ts";
import { DiskStore } from "../../src/store/disk.ts";
import type { Store } from "../../src/store/store.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { removableNames } from "../../src/wal/retention.ts";
import { SharedView } from "../support/shared-store.ts";
import { SimulatedFileSystem } from "../support/simulated-file-system.ts";
import { type MadeFile, MIB, SYSTEM_IDENTIFIER } from "../support/wal-maker.ts";
import { segmentText } from "../retention/stage.ts";

export const signal = new AbortController().signal;

const BINDING = {
  systemIdentifier: SYSTEM_IDENTIFIER,
  segmentSizeBytes: MIB,
  postgresMajor: 15,
};

export interface DaemonOptions {
  readonly policy?: Partial<RetentionPolicy>;
  readonly leaseMs?: number;
  /** None without it: most tests know that nobody brings what is missing. */
  readonly overtakenMs?: number;
  readonly configured?: boolean;
}

/** One daemon of several, and its own view of their store. */
export class Daemon implements AsyncDisposable {
  readonly view: SharedView;
  readonly archive: Archive;
  readonly logLines: Record<string, unknown>[];

  private constructor(view: SharedView, archive: Archive, logLines: Record<string, unknown>[]) {
    this.view = view;
    this.archive = archive;
    this.logLines = logLines;
  }

  static async start(store: Store, options: DaemonOptions = {}): Promise<Daemon> {
    const view = new SharedView(store);
    const logLines: Record<string, unknown>[] = [];
    const write = (text: string) => {
      logLines.push(JSON.parse(text) as Record<string, unknown>);
    };
    const retention = { ...DEFAULT_POLICY, keepBackups: 0, ...options.policy };
    const main = { systemIdentifier: undefined, retention };
    const archive = await Archive.open({
      store: view,
      log: pino({ level: "debug" }, { write }),
      compressionLevel: 1,
      clusters: new Map(options.configured === false ? [] : [["main", main]]),
      leaseMs: options.leaseMs,
      overtakenMs: options.overtakenMs ?? 0,
      signal,
    });
    return new Daemon(view, archive, logLines);
  }

  get retention(): Promise<Retention> {
    return this.archive.retention("main", { signal });
  }

  async cluster(): Promise<ClusterArchive> {
    await this.retention;
    const found = this.archive.loadedClusters().find(({ name }) => name === "main");
    if (found === undefined) throw new Error("main is not loaded");
    return found;
  }

  /** What the daemon does from time to time to learn of the others. */
  async look(): Promise<void> {
    const { others, retention } = await this.cluster();
    await others.look({ signal });
    await retention.register.relearn({ signal });
  }

  async push(...files: MadeFile[]): Promise<void> {
    for (const { name, bytes } of files) {
      const body = (async function* () {
        yield bytes;
      })();
      await this.archive.push("main", requireWalName(name), body, { signal });
    }
  }

  /** What a fetch ends with: "served", or the code of its failure. */
  async fetch(name: string): Promise<string> {
    try {
      await using verified = await this.archive.fetch("main", requireWalName(name), { signal });
      return verified.metadata.name === name ? "served" : "another file";
    } catch (error) {
      for (const code of ["absent", "gap", "corrupt", "unknown-cluster", "store-failed"] as const) {
        if (isFailure(error, code)) return code;
      }
      throw error;
    }
  }

  async report(standby: string, number: number): Promise<void> {
    const told = { source: "report", signal } as const;
    await (await this.retention).register.report(standby, segmentText(number), told);
  }

  async hold(name: string, number: number): Promise<HoldStatus | undefined> {
    const { register } = await this.retention;
    await register.putHold(name, { from: segmentText(number), until: undefined, signal });
    const holds = holdStatuses(await register.load({ signal }));
    return holds.find((hold) => hold.name === name);
  }

  async release(hold: string): Promise<void> {
    await (await this.retention).register.removeHold(hold, { signal });
  }

  /** What the answer to a standby's report warns of. */
  async problemOf(standby: string): Promise<string | undefined> {
    const { register } = await this.retention;
    const statuses = standbyStatuses(await register.load({ signal }), register);
    return statuses.find(({ name }) => name === standby)?.problem;
  }

  async plan(): Promise<string[]> {
    const plan = await (await this.retention).plan({ signal });
    return [...removableNames(plan)].map(({ text }) => text);
  }

  /** Names that a prune has removed. */
  async prune(): Promise<string[]> {
    const plan = await (await this.retention).prune({ signal });
    return [...removableNames(plan)].map(({ text }) => text);
  }

  async listed(): Promise<string[]> {
    const { files } = await this.archive.page("main", { limit: 1000, signal });
    return files.map(({ name }) => name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.view.before = () => {};
    await this.archive[Symbol.asyncDispose]();
  }
}

/** Two daemons on one store. */
export class TwoDaemons implements AsyncDisposable {
  readonly store: DiskStore;
  readonly a: Daemon;
  readonly b: Daemon;

  private constructor(store: DiskStore, a: Daemon, b: Daemon) {
    this.store = store;
    this.a = a;
    this.b = b;
  }

  /** With these archived already, as small objects. */
  static async start(
    names: readonly string[],
    options: { a?: DaemonOptions; b?: DaemonOptions } = {},
  ): Promise<TwoDaemons> {
    const store = await openStore();
    await fill(store, names);
    const daemons = [Daemon.start(store, options.a), Daemon.start(store, options.b)] as const;
    return new TwoDaemons(store, ...(await Promise.all(daemons)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.b[Symbol.asyncDispose]();
    await this.a[Symbol.asyncDispose]();
  }
}

/** A store that several daemons can share, empty. */
export async function openStore(): Promise<DiskStore> {
  return DiskStore.open("/store", { fileSystem: new SimulatedFileSystem() });
}

/** Archives small objects under the names of segments, as if a daemon had been at it for long. */
export async function fill(store: Store, names: readonly string[]): Promise<void> {
  await writeBinding(store, "main", { binding: BINDING, signal });
  for (const name of names) await put(store, name);
}

/** The same with objects that nobody will read. */
export async function fillWithNames(store: Store, names: readonly string[]): Promise<void> {
  await writeBinding(store, "main", { binding: BINDING, signal });
  for (const name of names) {
    await using staged = await store.stage("main", { signal });
    await staged.publish(walKey("main", requireWalName(name)), { signal });
  }
}

/** Archives one small object as another daemon would. */
export async function put(store: Store, name: string): Promise<"created" | "exists"> {
  const content = (async function* () {
    yield Buffer.from(name);
  })();
  const describe = (plain: { sha256: string; sizeBytes: number }) => ({
    ...plain,
    name,
    systemIdentifier: SYSTEM_IDENTIFIER,
    timeline: Number.parseInt(name.slice(0, 8), 16),
    archivedAt: new Date().toISOString(),
  });
  const sizeBytes = name.length;
  const encoded = encodeObject(content, { compressionLevel: 1, sizeBytes, describe });
  await using staged = await store.stage("main", { signal });
  for await (const bytes of encoded) await staged.write(bytes);
  return await staged.publish(walKey("main", requireWalName(name)), { signal });
}
