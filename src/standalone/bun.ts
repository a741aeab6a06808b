/** What the standalone client uses of its runtime, as Bun 1.4 documents it. */

export interface BunSocket {
  /** How many bytes the kernel took, negative when the connection is over. Nothing is kept. */
  write(bytes: Uint8Array): number;
  setNoDelay(isOn: boolean): boolean;
  /** Closes at once, unlike `end`, which first sends what is left. */
  terminate(): void;
}

/** Called with the connection. A socket that takes less than was written calls `drain` later. */
export interface BunSocketHandler {
  open(socket: BunSocket): void;
  data(socket: BunSocket, bytes: Buffer): void;
  drain(socket: BunSocket): void;
  end(socket: BunSocket): void;
  /** With an error when the connection was reset; everything received came before. */
  close(socket: BunSocket, error?: NodeJS.ErrnoException): void;
  error(socket: BunSocket, error: NodeJS.ErrnoException): void;
  connectError(socket: BunSocket, error: NodeJS.ErrnoException): void;
}

export interface BunHasher {
  update(bytes: Uint8Array): BunHasher;
  digest(encoding: "hex"): string;
}

export interface BunApi {
  /** Rejects, too, when `connectError` is called. */
  connect(
    options: ({ unix: string } | { hostname: string; port: number }) & { socket: BunSocketHandler },
  ): Promise<BunSocket>;
  /** Throws when the program cannot be started. */
  spawn(options: {
    readonly cmd: readonly string[];
    readonly stdio: readonly ["ignore", "ignore", "ignore"];
    readonly env: NodeJS.ProcessEnv;
  }): { readonly pid: number; unref(): void };
  readonly CryptoHasher: new (algorithm: "sha256") => BunHasher;
}
