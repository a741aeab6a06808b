import { WalarcError } from "../errors.ts";
import { isErrno } from "./failure.ts";
import type { FileSystem, WritableFile } from "./file-system.ts";

/**
 * So much may wait to be synced. A sync of a gigabyte takes longer than any deadline for one
 * operation, while a few short ones on the way cost next to nothing.
 */
const UNSYNCED_BYTES_MAX = 64 * 1024 * 1024;

/**
 * A new file under a name that nobody looks for: first `open`, then `sealed` (its content durable,
 * its size proven), at last `taken` (it has its final name). One failure and it can only be
 * disposed: after a failed sync the kernel may count lost pages as written, so syncing again proves
 * nothing.
 */
export class StagedFile implements AsyncDisposable {
  readonly path: string;
  readonly #fileSystem: FileSystem;
  #file: WritableFile | undefined;
  #state: "open" | "sealed" | "taken" | "failed" = "open";
  #writtenBytes = 0;
  #unsyncedBytes = 0;

  private constructor(path: string, file: WritableFile, fileSystem: FileSystem) {
    this.path = path;
    this.#file = file;
    this.#fileSystem = fileSystem;
  }

  static async create(path: string, fileSystem: FileSystem): Promise<StagedFile> {
    return new StagedFile(path, await fileSystem.create(path), fileSystem);
  }

  async write(bytes: Uint8Array): Promise<void> {
    const file = this.#opened();
    await this.#orFail(async () => {
      await file.write(bytes);
      this.#writtenBytes += bytes.byteLength;
      this.#unsyncedBytes += bytes.byteLength;
      if (this.#unsyncedBytes < UNSYNCED_BYTES_MAX) return;
      await file.sync();
      this.#unsyncedBytes = 0;
    });
  }

  /** Makes the content durable. Sealing again does nothing. */
  async seal(): Promise<void> {
    if (this.#state === "sealed") return;
    const file = this.#opened();
    await this.#orFail(async () => {
      await file.sync();
      const sizeBytes = await file.sizeBytes();
      if (sizeBytes !== this.#writtenBytes) throw lostWrite(this.#writtenBytes, sizeBytes);
      this.#file = undefined;
      await file.close();
      this.#state = "sealed";
    });
  }

  /** Drops the staged name once the file has another, or was renamed. */
  async take(): Promise<void> {
    this.#state = "taken";
    await this.#dropName();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    try {
      await file?.close();
    } catch (error) {
      if (!isErrno(error)) throw error; // Nobody counts on what was staged and not published.
    }
    if (this.#state !== "taken") await this.#dropName();
    this.#state = "taken";
  }

  async #dropName(): Promise<void> {
    try {
      await this.#fileSystem.remove(this.path);
    } catch (error) {
      if (!isErrno(error)) throw error; // It wastes room, no more, until the next start sweeps it.
    }
  }

  #opened(): WritableFile {
    if (this.#state === "open" && this.#file !== undefined) return this.#file;
    if (this.#state === "failed") {
      throw new WalarcError("store-failed", "an earlier write of the same object failed");
    }
    throw new Error(`a staged file that is ${this.#state} cannot be written`);
  }

  async #orFail(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      this.#state = "failed";
      throw error;
    }
  }
}

function lostWrite(writtenBytes: number, sizeBytes: number): WalarcError {
  const message = `the disk claims ${writtenBytes} written bytes, but the file has ${sizeBytes}`;
  return new WalarcError("store-failed", message, {
    hint: "Take the disk, or what stands between it and walarc, for failing until disproved",
  });
}
