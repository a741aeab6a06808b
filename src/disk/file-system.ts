/**
 * The seam between walarc and a disk: every verb the disk store needs, and no other. The real one
 * is `NodeFileSystem`; tests use a simulated one that forgets, at a crash, what was never synced.
 *
 * Verbs reject with the system's own errors (an `errno` name in `code`). What a caller has to
 * expect in good health is a value instead: a name that is taken, a name that is not there.
 */
export interface FileSystem {
  /** The path without symbolic links, or `undefined` when nothing is there. */
  resolve(path: string): Promise<string | undefined>;

  /** Follows no symbolic link. */
  stat(path: string): Promise<FileStatus | undefined>;

  /** One level, 0700. Durable only once the parent directory is synced. */
  makeDirectory(path: string): Promise<"made" | "exists">;

  /** A new, empty file, 0600, that nobody had made before. */
  create(path: string): Promise<WritableFile>;

  /** A regular file; whatever else stands there (a link, a pipe, a directory) is an error. */
  open(path: string): Promise<ReadableFile | undefined>;

  /** A second name for a file; never replaces. Durable once the new name's directory is synced. */
  link(from: string, to: string): Promise<"linked" | "exists">;

  /** Replaces what `to` names in one step. */
  rename(from: string, to: string): Promise<void>;

  remove(path: string): Promise<"removed" | "absent">;

  /** Removes a directory with nothing in it; leaves any other. */
  removeDirectory(path: string): Promise<"removed" | "occupied">;

  /** Makes the names in a directory durable: those made, and those removed. */
  syncDirectory(path: string): Promise<"synced" | "absent">;

  /** In no promised order; `undefined` when there is no such directory. */
  list(path: string): Promise<DirectoryEntry[] | undefined>;

  room(path: string): Promise<FileSystemRoom>;

  /**
   * Takes the file as a lock against every other process, until disposed or the process ends,
   * however it ends. Rejects with `store-failed` when another one holds it.
   */
  lock(path: string): Promise<Disposable>;
}

export interface WritableFile {
  /** Appends all of the bytes, or rejects with some of them written. */
  write(bytes: Uint8Array): Promise<void>;
  /** Once it has failed, what was written is lost: syncing again proves nothing. */
  sync(): Promise<void>;
  /** As the file system knows it, not as we counted. */
  sizeBytes(): Promise<number>;
  close(): Promise<void>;
}

export interface ReadableFile {
  readonly sizeBytes: number;
  /** Fewer bytes than asked only where the file ends. */
  read(position: number, length: number): Promise<Buffer>;
  /** Makes the file's content durable, whoever wrote it. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export type FileKind = "file" | "directory" | "other";

export interface FileStatus {
  readonly kind: FileKind;
  readonly sizeBytes: number;
  /** Permission bits. */
  readonly mode: number;
  /** Which file system it is on. */
  readonly device: bigint;
  /** Which file of its file system it is: with `device`, the same only for the same file. */
  readonly inode: bigint;
}

export interface DirectoryEntry {
  readonly name: string;
  readonly kind: FileKind;
}

export interface FileSystemRoom {
  /** What an unprivileged process may still use. */
  readonly freeBytes: number;
  readonly totalBytes: number;
  /** `undefined` where the file system has no fixed number of them. */
  readonly freeFiles: number | undefined;
}
