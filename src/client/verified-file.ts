/** A file from the network, which nobody finds under its name before it is proven whole. */
import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  fsync,
  futimesSync,
  openSync,
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { WalarcError } from "../errors.ts";

/** What was hashed is then still in the processor's cache. */
const SLICE_BYTES = 262_144;

/**
 * Created under a temporary name; `proveDigest`, then `publish`. Until then `discard` leaves
 * nothing behind. What the file system refuses passes as Node throws it.
 */
export class VerifiedFile {
  readonly #temporary: string;
  readonly #sha256 = createHash("sha256");
  #descriptor: number | undefined;
  #isThere = false;

  constructor(temporary: string) {
    this.#temporary = temporary;
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    this.#descriptor = openSync(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    this.#isThere = true;
  }

  write(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
      const slice = bytes.subarray(at, at + SLICE_BYTES);
      this.#sha256.update(slice);
      let written = 0;
      while (written < slice.length) written += writeSync(this.#open(), slice, written);
    }
  }

  /** Shows that something has come which cannot be written yet: the file's time of change moves. */
  touch(): void {
    const now = new Date();
    futimesSync(this.#open(), now, now);
  }

  /** Throws `corrupt` unless the bytes written have this digest (hex). Once only. */
  proveDigest(sha256: string): void {
    const received = this.#sha256.digest("hex");
    if (received === sha256) return;
    const hint = "nothing was delivered; fetch again, and if it stays so look at the stored copy";
    const why = `the bytes received have sha256 ${received}, the archive says ${sha256}`;
    throw new WalarcError("corrupt", why, { hint });
  }

  /** Resolves when the bytes would survive a power cut. */
  async sync(): Promise<void> {
    const descriptor = this.#open();
    await new Promise<void>((resolve, reject) => {
      fsync(descriptor, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  publish(path: string): void {
    this.#close();
    renameSync(this.#temporary, path);
    this.#isThere = false;
  }

  /** Removes what was not published; does not throw. */
  discard(): void {
    try {
      this.#close();
      if (this.#isThere) unlinkSync(this.#temporary);
    } catch {
      // The failure that brought us here is the one to tell of; leftovers are swept.
    }
    this.#isThere = false;
  }

  #open(): number {
    if (this.#descriptor === undefined) throw new Error("the file is closed");
    return this.#descriptor;
  }

  #close(): void {
    const descriptor = this.#descriptor;
    this.#descriptor = undefined;
    if (descriptor !== undefined) closeSync(descriptor);
  }
}
