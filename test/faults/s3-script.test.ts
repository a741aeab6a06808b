/**
 * A server that fails on purpose, in every way that S3 servers are known to fail and in every
 * order. What was acknowledged is never lost and never changed; what was not pushed is never
 * served; no failure lets a recovery end; and no request is repeated for ever.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { inParallel } from "../support/ledger.ts";
import { type RivalKind, rivals } from "../support/rivals.ts";
import { type Ending, type Played, S3Archive } from "../support/s3-archive.ts";
import { S3_FAULTS, type S3FaultName } from "../support/s3-fault.ts";
import { type MadeFile, sha256Of } from "../support/wal-maker.ts";

const ALL = Object.keys(S3_FAULTS) as S3FaultName[];

/**
 * Those that leave doubt behind about what is stored, or lie about it: after them the next answer
 * is read in another light. The others only cost an attempt, wherever they come in a sequence.
 */
const DOUBTFUL: readonly S3FaultName[] = [
  "412 for nothing",
  "200 of a proxy",
  "timeout after storing",
  "404, stale",
  "read short",
  "read corrupt at the end",
];

/** All three together take some minutes. */
const isFull = process.env["WALARC_S3_SCRIPT"] === "full";
const SEQUENCES = [
  ...sequences(ALL, 1),
  ...sequences(ALL, 2),
  ...sequences(isFull ? ALL : DOUBTFUL, 3),
];

/** Five attempts, each of a request and a question about what became of it, and a fallback. */
const REQUESTS_MAX = 16;
const LANES = 12;

describe("an S3 server that fails in every order", () => {
  const archives: S3Archive[] = [];
  let keys = 0;
  let numbers = 0;

  beforeAll(async () => {
    renewCredentials();
    for (let lane = 0; lane < LANES; lane += 1) {
      const archive = await S3Archive.open();
      archive.server.onExpired = renewCredentials;
      await archive.push(nextPair("segment")[0]);
      archives.push(archive);
    }
  });
  afterAll(async () => {
    for (const archive of archives) await archive[Symbol.asyncDispose]();
  });

  test("without a fault a push is one request, and a fetch is another", async () => {
    const [archive] = archives;
    const [file] = nextPair("segment");
    const digest = sha256Of(file.bytes);
    const done = { ending: { kind: "done", sha256: digest }, requests: 1 };
    expect(await archive?.during([], () => archive.push(file))).toEqual(done);
    expect(await archive?.during([], () => archive.fetch(file.name))).toEqual(done);
  });

  const timeout = 120_000 + SEQUENCES.length * 500;

  test(`${SEQUENCES.length} sequences of up to three faults`, { timeout }, async () => {
    const broken: string[] = [];
    await inParallel(SEQUENCES, LANES, async (names) => {
      const archive = archives.pop();
      if (archive === undefined) throw new Error("more lanes than archives");
      for (const promise of await play(archive, names)) {
        broken.push(`${names.join(", ")}: ${promise}`);
      }
      archives.push(archive);
    });
    expect(broken.slice(0, 50)).toEqual([]);
  });

  /** Every promise that a sequence of faults broke, in words. */
  async function play(archive: S3Archive, names: readonly S3FaultName[]): Promise<string[]> {
    // To a bucket both are objects, and the small ones cost a tenth.
    const [file, rival] = nextPair(names.length === 1 ? "segment" : "backup");
    const faults = names.map((name) => S3_FAULTS[name]);
    const digest = sha256Of(file.bytes);
    const during = (act: () => Promise<Ending>) => archive.during(faults, act);
    const clean = async (): Promise<string> => afterwards(() => archive.fetch(file.name));
    const found: string[] = [];
    const require = (isKept: boolean, promise: string): void => {
      if (!isKept) found.push(promise);
    };

    const pushed = await during(() => archive.push(file));
    requireBounded(pushed, "a push", found);
    if (pushed.ending.kind === "done") {
      const after = await clean();
      require(after === digest, `acknowledged, and then a fetch says ${after}`);
    } else {
      const { code } = pushed.ending;
      require(code === "store-failed", `a push ends with ${code}`);
      const again = await afterwards(() => archive.push(file));
      require(again === digest, `PostgreSQL pushes again, and that ends with ${again}`);
    }

    const fetched = await during(() => archive.fetch(file.name));
    requireBounded(fetched, "a fetch", found);
    require([digest, "store-failed", "corrupt"].includes(
      text(fetched.ending),
    ), `a fetch ends with ${text(fetched.ending)}`);

    // A wrong answer that is well made ends it; all others cost an attempt.
    const isWellMade = ["404, stale", "412 for nothing"].includes(names.join());
    require(names.length > 1 ||
      isWellMade ||
      text(fetched.ending) === digest, "one fault ends a fetch");

    const refused = await during(() => archive.push(rival));
    requireBounded(refused, "a push of another content", found);
    require(["conflict", "store-failed"].includes(
      text(refused.ending),
    ), `a push of another content ends with ${text(refused.ending)}`);
    const unchanged = await clean();
    require(unchanged === digest, `another content was pushed, and then a fetch says ${unchanged}`);

    const repeated = await during(() => archive.push(file));
    requireBounded(repeated, "a repeated push", found);
    require([digest, "store-failed"].includes(
      text(repeated.ending),
    ), `a repeated push ends with ${text(repeated.ending)}`);
    const last = await clean();
    require(last === digest, `in the end a fetch says ${last}`);
    return found;
  }

  function requireBounded({ requests }: Played, what: string, found: string[]): void {
    if (requests > REQUESTS_MAX) found.push(`${what} makes ${requests} requests`);
  }

  /** Of a new name, what two servers would push. */
  function nextPair(kind: RivalKind): [MadeFile, MadeFile] {
    return rivals(kind, (numbers += 1));
  }

  /** As whoever rotates them in the environment of the daemon. */
  function renewCredentials(): void {
    process.env["AWS_ACCESS_KEY_ID"] = `AKID${(keys += 1)}`;
    process.env["AWS_SECRET_ACCESS_KEY"] = "of-no-matter-here";
  }
});

/**
 * What comes of something once no fault is played any more. The deadlines are short, and the
 * machine may do other things as well: as PostgreSQL does, it is tried again.
 */
async function afterwards(act: () => Promise<Ending>): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    const ended = text(await act());
    if (ended !== "store-failed" || attempt === 10) return ended;
  }
}

function text(ending: Ending): string {
  return ending.kind === "done" ? ending.sha256 : ending.code;
}

function sequences(names: readonly S3FaultName[], length: number): S3FaultName[][] {
  if (length === 0) return [[]];
  return sequences(names, length - 1).flatMap((start) => names.map((name) => [...start, name]));
}
