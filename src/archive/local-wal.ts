/** What a cluster's own WAL directory has to offer; `disk/pg-wal.ts` has it. */
export interface LocalWal {
  /** Rejects with `usage` when it cannot be read. */
  open(name: string): Promise<LocalWalFile>;

  /** Names of the files that PostgreSQL has finished and wants to see archived, in no order. */
  ready(): AsyncIterable<string>;

  /** Whether the file is one of them. */
  isReady(name: string): Promise<boolean>;
}

export interface LocalWalFile extends AsyncDisposable {
  readonly sizeBytes: number;
  /** `device:inode:size:mtime_ns`. */
  readonly identity: string;
  chunks(): AsyncIterable<Buffer>;
}
