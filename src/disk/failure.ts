import { WalarcError } from "../errors.ts";

/** What an operator can do about an `errno`, and the HTTP status where it is not the usual one. */
interface Remedy {
  readonly means: string;
  readonly hint: string;
  readonly status?: number;
}

const NO_SPACE = 507;

const REMEDIES: Record<string, Remedy> = {
  ENOSPC: {
    means: "no space is left on the device",
    hint: "Free space or inodes, or let retention remove more; nothing needs a restart",
    status: NO_SPACE,
  },
  EDQUOT: {
    means: "the disk quota is used up",
    hint: "Raise the quota of the user that walarc runs as, or let retention remove more",
    status: NO_SPACE,
  },
  EROFS: {
    means: "the file system is read-only",
    hint: "Look in the kernel log for why it was remounted, and remount it writable",
  },
  EIO: {
    means: "the device reports an I/O error",
    hint: "Look in the kernel log, and take the disk for failing until that is disproved",
  },
  EACCES: {
    means: "permission is denied",
    hint: "Give the store's directory, and all in it, to the user that walarc runs as",
  },
  EPERM: {
    means: "the operation is not permitted",
    hint: "Does the file system know hard links, and is the store free of immutable files?",
  },
  ESTALE: {
    means: "the network file system forgot the file",
    hint: "Is the export still the one that was mounted?",
  },
  ENOENT: {
    means: "a directory of the store is gone",
    hint: "Has the store been removed, moved or unmounted under walarc?",
  },
  ENOTDIR: {
    means: "a file stands in the place of a directory",
    hint: "What else writes into the store's directory?",
  },
  ELOOP: {
    means: "a symbolic link stands in the place of a file",
    hint: "What else writes into the store's directory?",
  },
  EFBIG: {
    means: "the file would be larger than allowed",
    hint: "Raise the file size limit of the walarc process (LimitFSIZE)",
  },
  EMFILE: {
    means: "the process has too many open files",
    hint: "Raise the open file limit of the walarc process (LimitNOFILE)",
  },
  ENFILE: {
    means: "the machine has too many open files",
    hint: "Raise fs.file-max, or find out who holds so many",
  },
  EMLINK: {
    means: "the file has too many links",
    hint: "What else links files of the store?",
  },
};

export function isErrno(error: unknown): error is NodeJS.ErrnoException & { code: string } {
  return error instanceof Error && /^E[A-Z0-9]+$/.test(String(Reflect.get(error, "code")));
}

/** A failure that we found ourselves, in the system's terms. */
export function errno(code: string, message: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${message}`), { code });
}

/**
 * The one place where a disk's errors become ours: `store-failed`, with what to do about it. What
 * is not a system's error passes unchanged.
 */
export function storeFailure(error: unknown, doing: string): unknown {
  if (!isErrno(error)) return error;
  const remedy = REMEDIES[error.code];
  const means = remedy === undefined ? error.message : `${remedy.means} (${error.code})`;
  return new WalarcError("store-failed", `cannot ${doing}: ${means}`, {
    cause: error,
    ...(remedy === undefined ? {} : { hint: remedy.hint }),
    ...(remedy?.status === undefined ? {} : { status: remedy.status }),
  });
}
