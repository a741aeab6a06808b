/** One WAL file on its way from the spool into the archive. */
import { isFailure, WalarcError } from "../errors.ts";
import { FIRST_PAGE_BYTES, readFirstPage } from "../wal/first-page.ts";
import type { WalName } from "../wal/name.ts";
import { SegmentPages, type Wholeness } from "../wal/pages.ts";
import type { SpoolDirectory } from "./directory.ts";
import { type EntryStatus, isSameStatus } from "./entry.ts";
import type { SpoolFile } from "./file.ts";
import type { Rejection } from "./status.ts";

export type PushOutcome = "archived" | "already-archived" | "kept-aside";

/** What the spool needs of the archive: durable when it resolves. */
export type Push = (
  name: WalName,
  body: AsyncIterable<Buffer>,
  options: { sizeBytes: number; signal: AbortSignal },
) => Promise<{ readonly outcome: PushOutcome }>;

/** What became of a file that was tried. */
export type Verdict =
  | { readonly kind: "archived"; readonly outcome: PushOutcome; readonly sizeBytes: number }
  /** Not whole so far. It may yet be completed. */
  | { readonly kind: "unfinished"; readonly reason: Rejection; readonly why: string }
  /** Somebody writes to it. */
  | { readonly kind: "changed" }
  /** Its content alone does not prove it whole: it must have been left alone for longer. */
  | { readonly kind: "unproven" }
  | { readonly kind: "refused"; readonly reason: Rejection; readonly why: string };

export interface DrainOptions {
  readonly push: Push;
  /** As it was seen when it stopped changing. */
  readonly seen: EntryStatus;
  /** Left alone for so long that this proves it whole as far as anything can. */
  readonly isSettled: boolean;
  /** For the content on its way; nobody else uses it meanwhile. */
  readonly buffer: Buffer;
  readonly signal: AbortSignal;
}

/** History and backup history files are a few hundred bytes. */
const TEXT_BYTES_MAX = 1024 * 1024;

class NotNow extends Error {
  readonly verdict: Verdict;

  constructor(verdict: Verdict) {
    super(verdict.kind);
    this.verdict = verdict;
  }
}

/**
 * Pushes the file if it is whole. Rejects with `store-failed` and whatever else is no fault of the
 * file. Nothing is removed or moved.
 */
export async function drainFile(
  directory: SpoolDirectory,
  name: WalName,
  options: DrainOptions,
): Promise<Verdict> {
  const file = await directory.openFile(name.text);
  if (file === "gone") return { kind: "changed" };
  if (file === "unreadable") {
    return { kind: "unfinished", reason: "unreadable", why: "walarc may not read it" };
  }
  if (file === "no-file") return { kind: "refused", reason: "not_a_file", why: "is no file" };
  await using opened = file;
  try {
    await requireUnchanged(opened, options.seen);
    const { sizeBytes } = options.seen;
    const body =
      name.kind === "segment" || name.kind === "partial"
        ? await segmentBody(opened, name, options)
        : textBody(opened, options);
    const { signal } = options;
    const { outcome } = await options.push(name, body, { sizeBytes, signal });
    return { kind: "archived", outcome, sizeBytes };
  } catch (error) {
    if (error instanceof NotNow) return error.verdict;
    return refusal(name, error);
  }
}

function refusal(name: WalName, error: unknown): Verdict {
  if (isFailure(error, "conflict")) {
    return { kind: "refused", reason: "conflict", why: error.message };
  }
  if (!isFailure(error, "rejected")) throw error;
  // A text that makes no sense may be the beginning of one that does.
  const isText = name.kind === "history" || name.kind === "backup";
  return { kind: isText ? "unfinished" : "refused", reason: "rejected", why: error.message };
}

/** Rejects with `NotNow` where the beginning and the size show that it is not whole. */
async function segmentBody(
  file: SpoolFile,
  name: WalName,
  options: DrainOptions,
): Promise<AsyncGenerator<Buffer, void, void>> {
  const { seen, buffer } = options;
  const filled = await file.read(buffer.subarray(0, FIRST_PAGE_BYTES), 0);
  const head = buffer.subarray(0, filled);
  if (filled < FIRST_PAGE_BYTES || head.every((byte) => byte === 0)) {
    throw cut(`${seen.sizeBytes} bytes, and no page header yet`);
  }
  const { segmentSizeBytes } = readFirstPage(head);
  if (seen.sizeBytes < segmentSizeBytes) {
    throw cut(`${seen.sizeBytes} of ${segmentSizeBytes} bytes`);
  }
  if (seen.sizeBytes > segmentSizeBytes) {
    throw new WalarcError(
      "rejected",
      `the file has ${seen.sizeBytes} bytes, its header says ${segmentSizeBytes}`,
    );
  }
  // What a `.partial` ends in is whatever stood in the recycled file (postgres: XLogFileCopy).
  if (name.kind === "partial") return content(file, options, () => requireSettled(options));
  const pages = new SegmentPages({ sizeBytes: segmentSizeBytes });
  return content(
    file,
    options,
    () => requireWhole(pages.wholeness(), options),
    (bytes) => pages.take(bytes),
  );
}

function textBody(file: SpoolFile, options: DrainOptions): AsyncGenerator<Buffer, void, void> {
  const { sizeBytes } = options.seen;
  if (sizeBytes === 0) throw cut("it is empty");
  if (sizeBytes > TEXT_BYTES_MAX) {
    throw new NotNow({ kind: "refused", reason: "rejected", why: `${sizeBytes} bytes of text` });
  }
  let last = 0;
  const requireEnd = () => {
    requireSettled(options);
    // PostgreSQL ends every line of them, the last one too.
    if (last !== NEWLINE) throw cut(`${sizeBytes} bytes, the last line without its end`);
  };
  return content(file, options, requireEnd, (bytes) => (last = bytes.at(-1) ?? 0));
}

const NEWLINE = 0x0a;

/**
 * The file's bytes, the last of which are not given before `requireWhole` agrees and the file
 * proves to be unchanged since it was seen: without its end nothing is ever published.
 */
async function* content(
  file: SpoolFile,
  { seen, buffer }: DrainOptions,
  requireEnd: () => void,
  look: (bytes: Buffer) => void = () => {},
): AsyncGenerator<Buffer, void, void> {
  for (let position = 0; position < seen.sizeBytes; ) {
    const filled = await file.read(buffer, position);
    if (filled === 0) throw new NotNow({ kind: "changed" });
    const bytes = buffer.subarray(0, filled);
    look(bytes);
    position += filled;
    if (position >= seen.sizeBytes) {
      await requireUnchanged(file, seen);
      requireEnd();
    }
    yield bytes;
  }
}

async function requireUnchanged(file: SpoolFile, seen: EntryStatus): Promise<void> {
  if (!isSameStatus(await file.status(), seen)) throw new NotNow({ kind: "changed" });
}

function requireSettled({ isSettled }: DrainOptions): void {
  if (!isSettled) throw new NotNow({ kind: "unproven" });
}

function requireWhole(wholeness: Wholeness, options: DrainOptions): void {
  if (wholeness === "unfinished") throw cut("its size is right, but not all of it is written");
  if (wholeness === "unproven") requireSettled(options);
}

function cut(why: string): NotNow {
  return new NotNow({ kind: "unfinished", reason: "incomplete", why });
}
