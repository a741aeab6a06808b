import type {
  DirectoryEntry,
  FileStatus,
  ReadableFile,
  WritableFile,
} from "../../src/disk/file-system.ts";
import { SimulatedFileSystem } from "./simulated-file-system.ts";

/** A simulated file system of which a part can hang, as a mount does whose server is gone. */
export class HangingFileSystem extends SimulatedFileSystem {
  #part: string | undefined;
  #open = Promise.withResolvers<void>();
  #hanging = 0;

  /** Calls that hang now. */
  get hanging(): number {
    return this.#hanging;
  }

  /** From now on every call hangs whose path contains `part`. */
  hang(part: string): void {
    this.#part = part;
    this.#open = Promise.withResolvers();
  }

  /** What hung goes on. */
  release(): void {
    this.#part = undefined;
    this.#open.resolve();
  }

  override async stat(path: string): Promise<FileStatus | undefined> {
    await this.#pass(path);
    return super.stat(path);
  }

  override async create(path: string): Promise<WritableFile> {
    await this.#pass(path);
    const file = await super.create(path);
    const sync = async (): Promise<void> => {
      await this.#pass(path);
      await file.sync();
    };
    return { ...file, sync };
  }

  override async open(path: string): Promise<ReadableFile | undefined> {
    await this.#pass(path);
    const file = await super.open(path);
    return (
      file && {
        ...file,
        read: async (position, length) => {
          await this.#pass(path);
          return file.read(position, length);
        },
      }
    );
  }

  override async link(from: string, to: string): Promise<"linked" | "exists"> {
    await this.#pass(to);
    return super.link(from, to);
  }

  override async remove(path: string): Promise<"removed" | "absent"> {
    await this.#pass(path);
    return super.remove(path);
  }

  override async list(path: string): Promise<DirectoryEntry[] | undefined> {
    await this.#pass(`${path}/`);
    return super.list(path);
  }

  async #pass(path: string): Promise<void> {
    if (this.#part === undefined || !path.includes(this.#part)) return;
    this.#hanging += 1;
    await this.#open.promise;
    this.#hanging -= 1;
  }
}
