import { pino } from "pino";
import { Archive } from "../../src/archive/archive.ts";
import { WalarcError } from "../../src/errors.ts";
import { S3Store } from "../../src/store/s3.ts";
import type { BucketConfig } from "../../src/config/config.ts";
import { requireWalName } from "../../src/wal/name.ts";
import type { S3Fault } from "./s3-fault.ts";
import { S3Server } from "./s3-server.ts";
import { type MadeFile, sha256Of } from "./wal-maker.ts";

/** So long a server may be silent; in a test that is long enough to be sure of it. */
const REQUEST_MS_MAX = 400;
const PAUSE_MS = 2;

/** How a push or a fetch ended: well, or with the code of a failure. */
export type Ending =
  | { readonly kind: "done"; readonly sha256: string }
  | { readonly kind: "failed"; readonly code: string };

/** What came of something that was done while the server misbehaved, and of how many requests. */
export interface Played {
  readonly ending: Ending;
  readonly requests: number;
}

/** Settings for a server of the tests, with short deadlines. */
export function settingsOf(server: S3Server): BucketConfig {
  return {
    bucket: server.bucketName,
    prefix: "",
    region: server.access.region,
    endpoint: server.access.endpoint,
    forcePathStyle: true,
    serverSideEncryption: undefined,
    kmsKeyId: undefined,
    storageClass: undefined,
    requestTimeoutMs: REQUEST_MS_MAX,
  };
}

/** An archive over the S3 store, over a server that misbehaves as it is told. */
export class S3Archive implements AsyncDisposable {
  readonly server: S3Server;
  readonly #archive: Archive;
  readonly #stack: AsyncDisposableStack;

  private constructor(stack: AsyncDisposableStack, parts: [S3Server, Archive]) {
    this.#stack = stack;
    [this.server, this.#archive] = parts;
  }

  static async open(): Promise<S3Archive> {
    await using stack = new AsyncDisposableStack();
    const server = stack.use(await S3Server.start());
    const store = stack.use(await S3Store.open(settingsOf(server), { pauseMs: PAUSE_MS }));
    const archive = stack.use(
      await Archive.open({
        store,
        log: pino({ level: "silent" }),
        compressionLevel: 1,
        clusters: new Map(),
        signal: new AbortController().signal,
      }),
    );
    return new S3Archive(stack.move(), [server, archive]);
  }

  async push(file: MadeFile): Promise<Ending> {
    return ending(async (signal) => {
      const body = (async function* () {
        yield file.bytes;
      })();
      const name = requireWalName(file.name);
      return (await this.#archive.push("main", name, body, { signal })).sha256;
    });
  }

  async fetch(name: string): Promise<Ending> {
    return ending(async (signal) => {
      const options = { signal };
      await using verified = await this.#archive.fetch("main", requireWalName(name), options);
      return sha256Of(Buffer.concat(await Array.fromAsync(verified.plain())));
    });
  }

  /** Does something whose requests meet `faults`, one each; afterwards all is well again. */
  async during(faults: readonly S3Fault[], act: () => Promise<Ending>): Promise<Played> {
    const before = this.server.log.length;
    this.server.script = [...faults];
    const ending = await act();
    this.server.script = [];
    return { ending, requests: this.server.log.length - before };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Only failures that have a code: anything else is a bug and rejects. */
async function ending(act: (signal: AbortSignal) => Promise<string>): Promise<Ending> {
  try {
    return { kind: "done", sha256: await act(new AbortController().signal) };
  } catch (error) {
    if (!(error instanceof WalarcError)) throw error;
    return { kind: "failed", code: error.code };
  }
}
