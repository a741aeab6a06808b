/**
 * `walarc push --spool DIR PATH`: a WAL file is handed over to the daemon through a directory on
 * this host, whether the daemon runs or not.
 */
import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { basename, join } from "node:path";
import { WalarcError } from "../errors.ts";
import { parseBackupHistory } from "../wal/backup-history.ts";
import { checkFirstPage, readFirstPage } from "../wal/first-page.ts";
import { parseHistory } from "../wal/history.ts";
import { requireWalName, type WalName } from "../wal/name.ts";
import { identityHeader } from "./identity.ts";
import {
  openSourceFile,
  readSource,
  requireUnchanged,
  type SourceFile,
} from "../client/source-file.ts";

const BUFFER_BYTES = 1024 * 1024;
/** History and backup history files are a few hundred bytes. */
const TEXT_BYTES_MAX = BUFFER_BYTES;
const WRITABLE_BY_ALL = 0o002;
/** Readable for the spool's group, to which the daemon may belong. */
const FILE_MODE = 0o640;
/** The daemon may take a file away between our finding it and our opening it. */
const ATTEMPTS_MAX = 5;

/**
 * Returns when the file is durable in the spool, or the same one was there already. Throws
 * `rejected` when it is no WAL file of this cluster, `conflict` when another content stands there
 * under its name, `usage` for a spool that everybody may write to, and `local`.
 *
 * Written under a name that nobody looks for, synced, and then linked: a link never replaces, and
 * whatever dies when, the name shows a whole file or nothing.
 */
export function handOver(path: string, { spool }: { readonly spool: string }): void {
  const name = requireWalName(basename(path));
  requireSafe(spool);
  const source = openSourceFile(path);
  const random = randomBytes(6).toString("hex");
  const temporary = join(spool, `.walarc-push.${process.pid}.${random}`);
  try {
    const target = join(spool, name.text);
    const sizeBytes = writing(temporary, () => copy(source, name, temporary));
    writing(target, () => publish(temporary, target, sizeBytes));
  } finally {
    closeSync(source.descriptor);
    removeIfThere(temporary);
  }
  writing(spool, () => syncDirectory(spool));
}

function requireSafe(spool: string): void {
  const found = writing(spool, () => statSync(spool));
  if (!found.isDirectory()) {
    throw new WalarcError("usage", `${JSON.stringify(spool)} is no directory`);
  }
  if ((found.mode & WRITABLE_BY_ALL) === 0) return;
  const what = `the spool ${JSON.stringify(spool)} is writable by everybody`;
  throw new WalarcError("usage", what, { hint: `look at what is in it, then: chmod o-w ${spool}` });
}

/** Durable when it returns, apart from its name. Returns how many bytes. */
function copy(source: SourceFile, name: WalName, temporary: string): number {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const descriptor = openSync(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, FILE_MODE);
  try {
    fchmodSync(descriptor, FILE_MODE); // Whatever the umask says.
    const buffer = Buffer.allocUnsafe(Math.min(BUFFER_BYTES, source.stats.size + 1));
    let bytes = 0;
    for (;;) {
      const filled = readSource(source, buffer);
      if (bytes === 0) checkContent(name, buffer.subarray(0, filled), source.stats.size);
      if (filled === 0) break;
      writeAll(descriptor, buffer.subarray(0, filled));
      bytes += filled;
    }
    requireUnchanged(source, bytes);
    fsyncSync(descriptor);
    // A device may claim a write that it never did.
    if (fstatSync(descriptor).size !== bytes)
      throw new Error("bytes that were written are missing");
    return bytes;
  } finally {
    closeSync(descriptor);
  }
}

function writeAll(descriptor: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at, bytes.length - at);
}

/** Throws `rejected`. `head`: its beginning, and all of it when it is a text. */
function checkContent(name: WalName, head: Buffer, sizeBytes: number): void {
  if (name.kind === "segment" || name.kind === "partial") {
    const { "Walarc-System-Identifier": systemIdentifier } = identityHeader();
    return checkFirstPage(name, readFirstPage(head), { binding: { systemIdentifier }, sizeBytes });
  }
  if (sizeBytes > TEXT_BYTES_MAX) {
    throw new WalarcError("rejected", `${name.text} is longer than ${TEXT_BYTES_MAX} bytes`);
  }
  const text = head.toString("latin1");
  if (name.kind === "history") parseHistory(name, text);
  else parseBackupHistory(name, text);
}

function publish(temporary: string, target: string, sizeBytes: number): void {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return linkSync(temporary, target);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EPERM" || code === "ENOTSUP") throw noLinks(error);
      if (code !== "EEXIST" || attempt === ATTEMPTS_MAX) throw error;
    }
    if (settleSame(temporary, target, sizeBytes)) return;
  }
}

/**
 * Makes what stands there durable if it has the same content, whoever wrote it; false when it has
 * gone meanwhile. Throws `conflict`.
 */
function settleSame(temporary: string, target: string, sizeBytes: number): boolean {
  let found: number;
  try {
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
    found = openSync(target, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
  const own = openSync(temporary, constants.O_RDONLY);
  try {
    if (!isSame(own, found, sizeBytes)) throw conflict(target);
    fsyncSync(found);
    return true;
  } finally {
    closeSync(own);
    closeSync(found);
  }
}

function isSame(one: number, other: number, sizeBytes: number): boolean {
  const found = fstatSync(other);
  if (!found.isFile() || found.size !== sizeBytes) return false;
  const buffers = [Buffer.allocUnsafe(BUFFER_BYTES), Buffer.allocUnsafe(BUFFER_BYTES)] as const;
  for (let position = 0; position < sizeBytes; ) {
    const length = readAt(one, buffers[0], position);
    const same = readAt(other, buffers[1], position) === length;
    const [left, right] = buffers.map((buffer) => buffer.subarray(0, length));
    if (!same || length === 0 || right === undefined || left?.equals(right) !== true) return false;
    position += length;
  }
  return true;
}

function readAt(descriptor: number, buffer: Buffer, position: number): number {
  let filled = 0;
  while (filled < buffer.length) {
    const length = buffer.length - filled;
    const count = readSync(descriptor, buffer, filled, length, position + filled);
    if (count === 0) break;
    filled += count;
  }
  return filled;
}

function syncDirectory(path: string): void {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** What stays of it, the daemon sweeps. */
function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // The failure that brought us here, or none, is what there is to tell.
  }
}

function conflict(target: string): WalarcError {
  const why = `${JSON.stringify(target)} stands there with another content; nothing was changed`;
  return new WalarcError("conflict", why, {
    hint: "was a copy cut short, or do two servers archive into this spool?",
  });
}

function noLinks(cause: unknown): WalarcError {
  return new WalarcError("local", "the spool's file system knows no hard links", {
    hint: "choose a directory on a local file system, such as that of the database",
    cause,
  });
}

/** Turns a failure of the local file system into ours. */
function writing<T>(path: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (error instanceof WalarcError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    const what = `cannot write ${JSON.stringify(path)}`;
    throw new WalarcError("local", `${what}: ${why}`, { cause: error });
  }
}
