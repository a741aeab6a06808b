/** The file that a push reads: a regular one, and still the same when its last byte was read. */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from "node:fs";
import { WalarcError } from "../errors.ts";

export interface SourceFile {
  readonly path: string;
  readonly descriptor: number;
  readonly stats: Stats;
}

/** Throws `local`. */
export function openSourceFile(path: string): SourceFile {
  // Not to hang on a named pipe; for files the flag means nothing.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK;
  const descriptor = readingLocally(path, () => openSync(path, flags));
  const stats = readingLocally(path, () => fstatSync(descriptor));
  if (stats.isFile()) return { path, descriptor, stats };
  closeSync(descriptor);
  throw new WalarcError("local", `${JSON.stringify(path)} is no regular file`);
}

/** Reads on where the last read ended; how many bytes. */
export function readSource({ path, descriptor }: SourceFile, buffer: Buffer): number {
  return readingLocally(path, () => readSync(descriptor, buffer, 0, buffer.length, null));
}

/**
 * Throws `local` unless the file is what it was and `bytesRead` bytes long: PostgreSQL recycles a
 * segment by renaming it and writing the next one into it, and a command left over from before a
 * crash may be reading just that (pgarch.c, xlog.c).
 */
export function requireUnchanged({ path, descriptor, stats }: SourceFile, bytesRead: number): void {
  const now = readingLocally(path, () => fstatSync(descriptor));
  if (now.size === bytesRead && now.size === stats.size && now.mtimeMs === stats.mtimeMs) return;
  const hint = "is something else writing to it?";
  throw new WalarcError("local", `${JSON.stringify(path)} changed while it was read`, { hint });
}

/** Turns a failure of the local file system into ours. */
export function readingLocally<T>(path: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new WalarcError("local", `cannot read ${JSON.stringify(path)}: ${why}`, { cause: error });
  }
}
