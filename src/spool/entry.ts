/** What stands in a spool, told by name and status alone. */
import { parseWalName, type WalName } from "../wal/name.ts";

/** Directory inside a spool where everything goes that cannot be archived. */
export const REJECTED_DIRECTORY = "rejected";

/** What `walarc push --spool` writes to before it publishes a file: process number, chance. */
export const HAND_OVER_NAME = /^\.walarc-push\.[1-9]\d{0,9}\.[0-9a-f]{12}$/;

export type EntryName =
  | { readonly kind: "wal"; readonly text: string; readonly wal: WalName }
  /** Somebody is still writing it, under a name that is not its last. */
  | { readonly kind: "temporary"; readonly text: string }
  | { readonly kind: "stranger"; readonly text: string }
  /** Part of the spool itself, or of its file system. */
  | { readonly kind: "furniture"; readonly text: string };

const FURNITURE: ReadonlySet<string> = new Set([REJECTED_DIRECTORY, "lost+found"]);

/**
 * Names of files under way: whatever is hidden (rsync's `.NAME.XXXXXX`, its `.~tmp~`, NFS's
 * `.nfs…`, our own), and the endings that copying programs and scripts use.
 */
const TEMPORARY =
  /^\.|~$|[._-](?:te?mp|part|partial|filepart|inprogress|incomplete|swp)(?:[._-]?\w{1,16})?$/i;
/** A WAL file's name with something behind it, such as a process number. */
const LENGTHENED = /^[0-9A-F]{24}[._~-]/;
/** Of these nobody makes a plain WAL file again. */
const FINISHED = /\.(?:gz|zst|lz4|bz2|xz|Z|br|gpg|enc|old|bak|md5|sha256)$/;

export function entryName(text: string): EntryName {
  const wal = parseWalName(text);
  if (wal !== undefined) return { kind: "wal", text, wal };
  if (FURNITURE.has(text)) return { kind: "furniture", text };
  const isUnderWay = TEMPORARY.test(text) || (LENGTHENED.test(text) && !FINISHED.test(text));
  return { kind: isUnderWay ? "temporary" : "stranger", text };
}

/** What a file is and whether it has changed, as far as its status tells. */
export interface EntryStatus {
  readonly kind: "file" | "symlink" | "directory" | "special";
  readonly device: bigint;
  readonly inode: bigint;
  readonly sizeBytes: number;
  readonly modifiedNs: bigint;
  /** No program can set this one; a rename may. */
  readonly changedNs: bigint;
}

export function isSameStatus(one: EntryStatus, other: EntryStatus): boolean {
  return isSameContent(one, other) && one.changedNs === other.changedNs;
}

/** The same file, not written to; it may have been renamed. */
export function isSameContent(one: EntryStatus, other: EntryStatus): boolean {
  return (
    one.kind === other.kind &&
    one.device === other.device &&
    one.inode === other.inode &&
    one.sizeBytes === other.sizeBytes &&
    one.modifiedNs === other.modifiedNs
  );
}
