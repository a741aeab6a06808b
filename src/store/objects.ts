import { randomUUID } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { Directories } from "../disk/directories.ts";
import { errno, isErrno } from "../disk/failure.ts";
import type { FileSystem } from "../disk/file-system.ts";
import { StagedFile } from "../disk/staged-file.ts";
import { clusterOfKey } from "./key.ts";
import type { Signalled } from "./store.ts";
import { Turns } from "./turns.ts";

const CLUSTERS = "clusters";
const STAGING = "tmp";
const DAMAGED = "damaged";
/** The directory of a log in a timeline: once its WAL is pruned, it would stay empty for ever. */
const WAL_LOG = /\/wal\/[0-9A-F]{8}\/[0-9A-F]{8}$/;
const COPY_BYTES = 1024 * 1024;

/**
 * How an object of the disk store comes to its key and leaves it, durably:
 *
 *     stage     clusters/{cluster}/tmp/{id} is written
 *     seal      its content is synced, its size compared with what was written
 *     publish   it is linked to its key (a link never replaces), the staged name goes
 *     settle    the key's directory is synced, and what is new of the directories above it
 *
 * Operations on one key take turns. So a failed publish can take its link back, and nobody has been
 * told in between that the object exists.
 */
export class Objects {
  readonly #root: string;
  readonly #fileSystem: FileSystem;
  readonly #directories: Directories;
  readonly #turns = new Turns();
  /** Begins the name of all that is staged by this process, so that a sweep knows what is not. */
  readonly #run = randomUUID();
  #staged = 0;
  /** Objects that could not be synced: syncing them once more would prove nothing. */
  readonly #doubtful = new Set<string>();

  constructor(root: string, fileSystem: FileSystem) {
    this.#root = root;
    this.#fileSystem = fileSystem;
    this.#directories = new Directories(root, fileSystem);
  }

  path(key: string): string {
    clusterOfKey(key); // Whatever is not a key never becomes a path.
    return join(this.#root, key);
  }

  /** Makes the directory of all clusters; resolves to the names of those that are there. */
  async start(): Promise<string[]> {
    const directory = join(this.#root, CLUSTERS);
    if ((await this.#fileSystem.stat(directory)) === undefined) {
      await this.#directories.make(directory);
      await this.#directories.settle(directory);
    }
    this.#directories.know(directory);
    const clusters = await this.clusters();
    for (const cluster of clusters) this.#directories.know(join(directory, cluster));
    return clusters;
  }

  /** Names of the directories where clusters have theirs. */
  async clusters(): Promise<string[]> {
    const entries = await this.#fileSystem.list(join(this.#root, CLUSTERS));
    if (entries === undefined) throw errno("ENOENT", `the directory "${CLUSTERS}" is gone`);
    return entries.filter(({ kind }) => kind === "directory").map(({ name }) => name);
  }

  /** Removes what a crash left staged. */
  async sweep(cluster: string): Promise<void> {
    const staging = join(this.#root, CLUSTERS, cluster, STAGING);
    for (const { name, kind } of (await this.#fileSystem.list(staging)) ?? []) {
      if (kind !== "file" || name.startsWith(this.#run)) continue;
      await this.#fileSystem.remove(join(staging, name));
    }
  }

  /** Rejects when the cluster had a directory and has none any more. */
  async requireCluster(cluster: string): Promise<void> {
    const directory = join(this.#root, CLUSTERS, cluster);
    if (!this.#directories.isKnown(directory)) return;
    if ((await this.#fileSystem.stat(directory))?.kind === "directory") return;
    throw errno("ENOENT", `the directory of cluster "${cluster}" is gone`);
  }

  /** Only here does a new cluster get its directory, and one that is gone does not get it again. */
  async stage(cluster: string): Promise<StagedFile> {
    const directory = join(this.#root, CLUSTERS, cluster);
    await this.#directories.make(directory);
    const staging = join(directory, STAGING);
    const path = join(staging, `${this.#run}.${(this.#staged += 1)}`);
    try {
      return await StagedFile.create(path, this.#fileSystem);
    } catch (error) {
      if (!isErrno(error) || error.code !== "ENOENT") throw error;
      await this.#fileSystem.makeDirectory(staging);
      return StagedFile.create(path, this.#fileSystem);
    }
  }

  async publish(
    file: StagedFile,
    key: string,
    { signal }: Signalled,
  ): Promise<"created" | "exists"> {
    const path = this.path(key);
    signal.throwIfAborted();
    await file.seal();
    using _turn = await this.#turns.take(key);
    signal.throwIfAborted();
    await this.#makeDirectory(dirname(path));
    if ((await this.#fileSystem.link(file.path, path)) === "exists") {
      await this.#settleInTurn(key);
      return "exists";
    }
    try {
      await file.take();
      await this.#directories.settle(dirname(path));
      return "created";
    } catch (error) {
      await this.#rollBack(path);
      throw error;
    }
  }

  async repair(file: StagedFile, key: string, { signal }: Signalled): Promise<void> {
    signal.throwIfAborted();
    await file.seal();
    using _turn = await this.#turns.take(key);
    signal.throwIfAborted();
    await this.#keepDamaged(key);
    await this.#putInPlace(file, key);
  }

  async replace(file: StagedFile, key: string, { signal }: Signalled): Promise<void> {
    await file.seal();
    using _turn = await this.#turns.take(key);
    signal.throwIfAborted();
    await this.#putInPlace(file, key);
  }

  /** Removes the names first, and then makes that durable directory by directory. */
  async removeAll(keys: readonly string[]): Promise<void> {
    const directories = new Set<string>();
    try {
      for (const key of keys) {
        // One after the other: a lane grants one thread.
        using _turn = await this.#turns.take(key);
        directories.add(dirname(this.path(key)));
        await this.#fileSystem.remove(this.path(key));
      }
    } finally {
      for (const directory of directories) await this.#fileSystem.syncDirectory(directory);
    }
    for (const directory of directories) {
      if (WAL_LOG.test(directory)) await this.#directories.discard(directory);
    }
  }

  /** Whoever wrote the object may have died before it was durable; now it is, or we fail. */
  async settle(key: string): Promise<void> {
    using _turn = await this.#turns.take(key);
    await this.#settleInTurn(key);
  }

  async #settleInTurn(key: string): Promise<void> {
    const path = this.path(key);
    if (this.#doubtful.has(path)) return this.#writeAnew(key);
    const file = await this.#fileSystem.open(path);
    if (file === undefined) throw errno("ENOENT", `there is no "${key}"`);
    try {
      await file.sync();
    } catch (error) {
      this.#doubtful.add(path);
      throw error;
    } finally {
      await file.close();
    }
    await this.#directories.settle(dirname(path));
  }

  /**
   * After a failed sync the kernel may count pages as written that never were, and a second sync
   * succeeds. So the object is copied as it reads now, and the copy takes its place.
   */
  async #writeAnew(key: string): Promise<void> {
    const path = this.path(key);
    const original = await this.#fileSystem.open(path);
    if (original === undefined) throw errno("ENOENT", `there is no "${key}"`);
    try {
      await using copy = await this.stage(clusterOfKey(key));
      for (let done = 0; done < original.sizeBytes; done += COPY_BYTES) {
        await copy.write(await original.read(done, COPY_BYTES));
      }
      await copy.seal();
      await this.#putInPlace(copy, key);
    } finally {
      await original.close();
    }
  }

  /** So that nothing shows of a publish that failed. Nobody was told that it is safe. */
  async #rollBack(path: string): Promise<void> {
    this.#doubtful.add(path);
    try {
      await this.#fileSystem.remove(path);
      this.#doubtful.delete(path);
      await this.#fileSystem.syncDirectory(dirname(path));
    } catch (error) {
      if (!isErrno(error)) throw error; // What stays is whole, and no longer trusted by its name.
    }
  }

  async #keepDamaged(key: string): Promise<void> {
    const damaged = await this.#fileSystem.stat(this.path(key));
    if (damaged === undefined) return;
    const directory = join(this.#root, CLUSTERS, clusterOfKey(key), DAMAGED);
    await this.#directories.makeAgain(directory);
    for (let copy = 1; ; copy += 1) {
      const path = join(directory, `${basename(key)}.${copy}`);
      if ((await this.#fileSystem.link(this.path(key), path)) === "linked") break;
      const kept = await this.#fileSystem.stat(path);
      if (kept?.device === damaged.device && kept.inode === damaged.inode) break;
    }
    await this.#directories.settle(directory);
  }

  async #putInPlace(file: StagedFile, key: string): Promise<void> {
    const path = this.path(key);
    await this.#makeDirectory(dirname(path));
    await this.#fileSystem.rename(file.path, path);
    await file.take();
    await this.#directories.settle(dirname(path));
    this.#doubtful.delete(path);
  }

  /**
   * A person may tidy away what was set aside (`conflicts/`), but where WAL files were a moment
   * ago, a directory that is gone means that somebody removes the archive under us.
   */
  async #makeDirectory(path: string): Promise<void> {
    const parent = dirname(path);
    const isInCluster = dirname(parent) === join(this.#root, CLUSTERS);
    await (isInCluster ? this.#directories.makeAgain(path) : this.#directories.make(path));
  }
}
