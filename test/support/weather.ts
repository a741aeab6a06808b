import { copyFile, open, readFile, rm, truncate, writeFile } from "node:fs/promises";
import type { WalarcDaemon } from "./daemon.ts";
import type { Fault, FaultProxy } from "./fault-proxy.ts";

/** Where a fault strikes: the archive, and one WAL file that PostgreSQL is about to ask for. */
export interface Stage {
  readonly daemon: WalarcDaemon;
  /** Stands before the daemon. */
  readonly proxy: FaultProxy;
  readonly victim: string;
  /** Another segment that is archived. */
  readonly neighbour: string;
  /** Pushes the victim again, as it was. */
  readonly pushAgain: () => Promise<void>;
}

/** A way in which an archive can fail a reader, and how it gets well again. */
export interface Weather {
  /** Goes on from "while". */
  readonly title: string;
  /** What the reader is connected to. */
  readonly through: "daemon" | "proxy";
  /** What `walarc fetch` may call it. */
  readonly codes: readonly string[];
  readonly begin: (stage: Stage) => Promise<void> | void;
  readonly end: (stage: Stage) => Promise<void> | void;
}

/** All of it. Absence alone may end a recovery, and none of this is absence. */
export const WEATHERS: readonly Weather[] = [
  {
    title: "the daemon is down",
    through: "daemon",
    codes: ["unreachable"],
    begin: ({ daemon }) => daemon.kill(),
    end: ({ daemon }) => daemon.start(),
  },
  {
    title: "the daemon is stopped and its socket gone",
    through: "daemon",
    codes: ["unreachable"],
    begin: async ({ daemon }) => {
      await daemon.stop();
      await rm(daemon.socketPath, { force: true });
    },
    end: ({ daemon }) => daemon.start(),
  },
  {
    title: "the daemon hangs",
    through: "daemon",
    codes: ["unreachable"],
    begin: ({ daemon }) => daemon.freeze(),
    end: ({ daemon }) => daemon.thaw(),
  },
  answering("500 without saying why", ["unreachable"], { status: 500, body: "<h1>Oops</h1>" }),
  answering("502 as a proxy does", ["unreachable"], { status: 502, body: "Bad Gateway" }),
  answering("404 as any web server does", ["unreachable", "usage"], { status: 404, body: "" }),
  answering("404 for an unknown cluster", ["usage"], problem(404, "unknown-cluster")),
  answering("503 store-failed", ["store-failed"], problem(503, "store-failed")),
  answering("403 denied", ["denied"], problem(403, "denied")),
  answering("200 and nothing else", ["unreachable", "corrupt"], { status: 200, body: "" }),
  proxied("connections are dropped", ["unreachable"], { kind: "drop" }),
  proxied("answers are cut in half", ["unreachable", "corrupt"], { kind: "cut" }),
  proxied("answers drip one byte a second", ["unreachable"], { kind: "drip" }),
  proxied("answers come without their digest", ["unreachable", "corrupt"], {
    kind: "change",
    answer: ({ status, headers, body }) => {
      const others = Object.entries(headers).filter(([name]) => name !== "walarc-sha256");
      return { status, headers: Object.fromEntries(others), body };
    },
  }),
  proxied("answers are of another content", ["unreachable", "corrupt"], {
    kind: "change",
    answer: ({ status, headers, body }) => ({ status, headers, body: flipped(body) }),
  }),
  ...damaged("has a flipped byte", async (file) => writeFile(file, flipped(await readFile(file)))),
  ...damaged("is cut in half", async (file) =>
    truncate(file, Math.floor((await readFile(file)).length / 2)),
  ),
  ...damaged("is empty", (file) => truncate(file, 0)),
  ...damaged("is zeros in the middle", zeroMiddle),
  ...damaged("is its neighbour", (file, { daemon, neighbour }) =>
    copyFile(daemon.objectFile(neighbour), file),
  ),
  ...struck("the stored segment is missing", ["gap", "corrupt"], (file) => rm(file)),
];

function answering(
  what: string,
  codes: readonly string[],
  answer: { status: number; headers?: Record<string, string>; body: string },
): Weather {
  return proxied(`the server answers ${what}`, codes, { kind: "answer", ...answer });
}

/** The victim's requests meet a fault on their way. */
function proxied(title: string, codes: readonly string[], fault: Fault): Weather {
  return {
    title,
    through: "proxy",
    codes,
    begin: ({ proxy, victim }) => {
      proxy.faultOf = ({ path }) => (path.includes(victim) ? fault : undefined);
    },
    end: ({ proxy }) => {
      proxy.faultOf = () => undefined;
    },
  };
}

function problem(status: number, code: string) {
  const headers = { "content-type": "application/problem+json" };
  return { status, headers, body: JSON.stringify({ status, code, detail: "by the proxy" }) };
}

/** The victim's object is damaged, and pushed again to heal it. */
function damaged(how: string, strike: Strike): readonly Weather[] {
  return struck(`the stored segment ${how}`, ["corrupt"], strike);
}

/** Does something to the file of the victim's object. */
type Strike = (file: string, stage: Stage) => Promise<void>;

/** Both under the running daemon and before it starts: it remembers what it has seen. */
function struck(title: string, codes: readonly string[], strike: Strike): readonly Weather[] {
  const begin = (stage: Stage): Promise<void> =>
    strike(stage.daemon.objectFile(stage.victim), stage);
  return [
    { title, through: "daemon", codes, begin, end: heal },
    {
      title: `${title} since before the daemon's start`,
      through: "daemon",
      codes,
      begin: async (stage) => {
        await stage.daemon.stop();
        await begin(stage);
        await stage.daemon.start();
      },
      end: heal,
    },
  ];
}

function heal(stage: Stage): Promise<void> {
  return stage.pushAgain();
}

function flipped(bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes);
  const middle = Math.floor(changed.length / 2);
  changed.writeUInt8(changed.readUInt8(middle) ^ 1, middle);
  return changed;
}

async function zeroMiddle(path: string): Promise<void> {
  await using file = await open(path, "r+");
  const { size } = await file.stat();
  await file.write(
    Buffer.alloc(Math.floor(size / 3)),
    0,
    Math.floor(size / 3),
    Math.floor(size / 3),
  );
}
