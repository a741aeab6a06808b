/**
 * A directory of ours in `pg_wal`, filled by one process and read by the calls that PostgreSQL
 * makes:
 *
 *     pg_wal/pgsql_tmp.walarc…/KEY/owner     the process that fills it: its id and start
 *                                 /…         what it has made ready
 *     pg_wal/pgsql_tmp.walarc….KEY           where that process answers calls
 *
 * The key is a digest of all that the contents must fit to. What begins with `pgsql_tmp`
 * PostgreSQL's own tools know for worthless: backups leave it out, pg_rewind does not copy it and
 * removes it (filemap.c). Only of sockets it knows nothing: the directory of one that a killed
 * process has left it cannot remove, and breaks off in the middle. So that has no directory.
 */
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { isThere } from "./process.ts";

const PREFIX = "pgsql_tmp.";
const OWNER = "owner";

/** For what a place is, and what its contents must have been made for to be of use. */
export interface Purpose {
  /** The directory's name after the prefix. */
  readonly place: string;
  /** Of the database cluster, decimal. */
  readonly systemIdentifier: string;
  /** The archive, and the credentials it was called with. */
  readonly archive: readonly string[];
}

export class PrivatePlace {
  readonly #parent: string;
  readonly #directory: string;

  /**
   * The place for this purpose in the working directory's `pg_wal`. `undefined` where it could not
   * be told apart from one of another directory or another boot. Nothing is created.
   */
  static in(walDirectory: string, purpose: Purpose): PrivatePlace | undefined {
    try {
      const places = [".", walDirectory].map((path) => {
        const { dev, ino } = statSync(path, { bigint: true });
        return `${dev}:${ino}`;
      });
      // After a power cut nobody knows what of it is left: then nothing fits any more.
      const boot = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
      const parts = [boot, ...places, purpose.systemIdentifier, ...purpose.archive];
      const key = createHash("sha256")
        .update(Buffer.from(JSON.stringify(parts)))
        .digest("hex");
      return new PrivatePlace(join(walDirectory, PREFIX + purpose.place), key.slice(0, 32));
    } catch {
      return undefined;
    }
  }

  private constructor(parent: string, key: string) {
    this.#parent = parent;
    this.#directory = join(parent, key);
  }

  /** Whether both are for the same purpose. */
  is(other: PrivatePlace): boolean {
    return this.#directory === other.#directory;
  }

  pathOf(file: string): string {
    return join(this.#directory, file);
  }

  /** Where the process that fills it listens. */
  get socketPath(): string {
    return `${this.#parent}.${basename(this.#directory)}`;
  }

  /** All names in it; throws when it is not there. */
  names(): string[] {
    return readdirSync(this.#directory);
  }

  /** The owner, while it lives. */
  owner(): string | undefined {
    return ownerOf(this.#directory);
  }

  isOwnedBy(identity: string): boolean {
    return this.read(OWNER) === identity;
  }

  /** Removes what owners have left that are gone, whatever it was for. */
  sweep(): void {
    const keys = existsSync(this.#parent) ? readdirSync(this.#parent) : [];
    const inUse = keys.filter((key) => ownerOf(join(this.#parent, key)) !== undefined);
    const left = keys.filter((key) => !inUse.includes(key)).map((key) => join(this.#parent, key));
    if (inUse.length === 0) left.push(this.#parent);
    const [walDirectory, sockets] = [dirname(this.#parent), `${basename(this.#parent)}.`];
    for (const name of readdirSync(walDirectory)) {
      const isInUse = inUse.includes(name.slice(sockets.length));
      if (name.startsWith(sockets) && !isInUse) left.push(join(walDirectory, name));
    }
    for (const path of left) rmSync(path, { recursive: true, force: true });
  }

  /** Makes room for a new owner; those that live stay, as one command may call two archives. */
  prepare(): void {
    this.sweep();
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
  }

  /** Makes the process with this identity the one that fills it. */
  entrust(identity: string): void {
    this.write(OWNER, identity);
  }

  read(file: string): string | undefined {
    return readIfThere(this.pathOf(file));
  }

  /** By a rename: who reads it never finds half of it. */
  write(file: string, text: string): void {
    const temporary = this.pathOf(`${file}.${process.pid}`);
    writeFileSync(temporary, text, { mode: 0o600 });
    renameSync(temporary, this.pathOf(file));
  }

  discard(file: string): void {
    try {
      unlinkSync(this.pathOf(file));
    } catch {
      // Gone already.
    }
  }

  /** Leaves nothing behind. */
  remove(): void {
    try {
      rmSync(this.socketPath, { force: true });
      rmSync(this.#directory, { recursive: true, force: true });
      rmdirSync(this.#parent);
    } catch {
      // The data directory is gone, or somebody else has a place here.
    }
  }
}

function ownerOf(directory: string): string | undefined {
  const owner = readIfThere(join(directory, OWNER));
  return owner !== undefined && isThere(owner) ? owner : undefined;
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return undefined;
  }
}
