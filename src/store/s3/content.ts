/** The bytes of a staged object until they are put: in memory, or in a file that has no name. */
import { createHash } from "node:crypto";
import { mkdtemp, open, rmdir, unlink, type FileHandle } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { storeFailure } from "../../disk/failure.ts";
import { isFailure } from "../../errors.ts";
import { type ObjectMetadata, parseTrailer, TRAILER_BYTES_MAX } from "../../object/metadata.ts";
import type { MemoryBudget } from "../../object/verify.ts";
import type { Body } from "./wire.ts";

const MB = 1024 * 1024;
/** A segment of 16 MB that does not compress, and its metadata, fit into one of these. */
const SLAB_BYTES = 17 * MB;
/** A history file; most segments of 16 MB and of 64 MB. What is larger goes to a file. */
const CAPACITIES = [64 * 1024, SLAB_BYTES, 4 * SLAB_BYTES] as const;
const FILE_READ_BYTES = MB;

/**
 * Slabs are reused: fresh memory costs the kernel as much time as copying into it, and the garbage
 * collector does not feel memory outside its heap.
 */
const spareSlabs: Buffer[] = [];
const SPARE_SLABS_MAX = 4;

/** Appended to, sealed once, then sent as often as it takes. */
export class StagedContent implements AsyncDisposable {
  readonly #budget: MemoryBudget;
  readonly #hash = createHash("sha256");
  #memory: Buffer | undefined = Buffer.alloc(0);
  #file: FileHandle | undefined;
  #sizeBytes = 0;
  #body: Body | undefined;
  #opened = 0;
  #answered = 0;

  constructor(budget: MemoryBudget) {
    this.#budget = budget;
  }

  /** The bytes may be reused once it resolves. */
  async write(bytes: Uint8Array): Promise<void> {
    this.#hash.update(bytes);
    const end = this.#sizeBytes + bytes.length;
    if (this.#memory !== undefined && end > this.#memory.length && !this.#grow(end)) {
      await this.#moveToFile();
    }
    if (this.#memory === undefined) await this.#append(bytes);
    else this.#memory.set(bytes, this.#sizeBytes);
    this.#sizeBytes = end;
  }

  /** After the last write. */
  seal(): Body {
    this.#body ??= {
      sizeBytes: this.#sizeBytes,
      sha256: this.#hash.digest("hex"),
      open: () => {
        this.#opened += 1;
        if (this.#memory !== undefined) return this.#memory.subarray(0, this.#sizeBytes);
        const pieces = piecesOf(this.#requireFile());
        return Readable.from(pieces, { objectMode: false, highWaterMark: FILE_READ_BYTES });
      },
    };
    return this.#body;
  }

  /**
   * That the body was sent once and answered: then no connection still reads from our memory, which
   * is why it may be used again. After any other end it is left to the garbage collector.
   */
  answered(): void {
    this.#answered += 1;
  }

  /** What the object says about itself; `undefined` when it is not an archived WAL file. */
  async metadata(): Promise<ObjectMetadata | undefined> {
    const tailBytes = Math.min(this.#sizeBytes, TRAILER_BYTES_MAX);
    const tail = await this.#read(this.#sizeBytes - tailBytes, tailBytes);
    try {
      return parseTrailer(tail, { storedBytes: this.#sizeBytes }).metadata;
    } catch (error) {
      if (isFailure(error, "corrupt")) return undefined;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#releaseMemory();
    await this.#file?.close();
    this.#file = undefined;
  }

  /** Whether there is memory for so many bytes now. */
  #grow(sizeBytes: number): boolean {
    const capacity = CAPACITIES.find((bytes) => bytes >= sizeBytes);
    const former = this.#memory ?? Buffer.alloc(0);
    if (capacity === undefined || !this.#budget.take(capacity)) return false;
    const memory = takeMemory(capacity);
    former.copy(memory, 0, 0, this.#sizeBytes);
    this.#releaseMemory();
    this.#memory = memory;
    return true;
  }

  #releaseMemory(): void {
    const memory = this.#memory;
    this.#memory = undefined;
    if (memory === undefined) return;
    this.#budget.giveBack(memory.length);
    if (this.#opened === this.#answered) returnMemory(memory);
  }

  async #moveToFile(): Promise<void> {
    try {
      this.#file = await openUnnamedFile();
      const memory = this.#memory?.subarray(0, this.#sizeBytes) ?? Buffer.alloc(0);
      await this.#append(memory);
      this.#releaseMemory();
    } catch (error) {
      throw storeFailure(error, `keep an object in "${tmpdir()}" until it is stored`);
    }
  }

  async #append(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    try {
      while (rest.length > 0) {
        const { bytesWritten } = await this.#requireFile().write(rest);
        rest = rest.subarray(bytesWritten);
      }
    } catch (error) {
      throw storeFailure(error, `keep an object in "${tmpdir()}" until it is stored`);
    }
  }

  async #read(position: number, length: number): Promise<Buffer> {
    if (this.#memory !== undefined) return this.#memory.subarray(position, position + length);
    const buffer = Buffer.alloc(length);
    const { bytesRead } = await this.#requireFile().read(buffer, 0, length, position);
    return buffer.subarray(0, bytesRead);
  }

  #requireFile(): FileHandle {
    if (this.#file === undefined) throw new Error("the staged object is gone");
    return this.#file;
  }
}

/** Not the file's own stream, which closes it when it is left: the body may be sent once more. */
async function* piecesOf(file: FileHandle): AsyncGenerator<Buffer, void, void> {
  for (let position = 0; ; ) {
    const piece = Buffer.allocUnsafeSlow(FILE_READ_BYTES);
    const { bytesRead } = await file.read(piece, 0, piece.length, position);
    if (bytesRead === 0) return;
    yield piece.subarray(0, bytesRead);
    position += bytesRead;
  }
}

function takeMemory(capacity: number): Buffer {
  const spare = capacity === SLAB_BYTES ? spareSlabs.pop() : undefined;
  return spare ?? Buffer.allocUnsafeSlow(capacity);
}

function returnMemory(memory: Buffer): void {
  if (memory.length !== SLAB_BYTES || spareSlabs.length >= SPARE_SLABS_MAX) return;
  spareSlabs.push(memory);
}

/** Nobody else can open it, and it is gone with its descriptor, however this process ends. */
async function openUnnamedFile(): Promise<FileHandle> {
  const directory = await mkdtemp(join(tmpdir(), "walarc-"));
  const path = join(directory, "staged");
  const file = await open(path, "wx+", 0o600);
  await unlink(path);
  await rmdir(directory);
  return file;
}
