import { zstdCompressSync } from "node:zlib";
import { makeSegment, MIB } from "./wal-maker.ts";

/** Tokens of an attacked daemon: of who may push, of another cluster, and of who may read. */
export const SECRETS = ["pusher", "other", "reader"].map(
  (name) => `walarc_${name}_0123456789abcdef`,
);
export const [PUSHER = "", OTHER = "", READER = ""] = SECRETS;

const PATH = "/v1/clusters/main/wal/000000010000000000000001";
export const AUTH = `host: x\r\nauthorization: Bearer ${PUSHER}\r\n`;
const PUT = `PUT ${PATH} HTTP/1.1\r\n${AUTH}`;
const STRANGE_PUT = `PUT ${PATH} HTTP/1.1\r\nhost: x\r\n`;
const FIRST_64_KB = makeSegment({ number: 1, segmentSizeBytes: MIB }).bytes.subarray(0, 65_536);
const BOMB = zstdCompressSync(Buffer.alloc(200 * MIB));

/** Another spelling of another cluster's WAL, and of places that are none of the archive's. */
export const SPELLINGS = [
  ..."other Other OTHER other%2f %6fther other%00 other/ ./other ../other/. other;x other?x".split(
    " ",
  ),
  ..."main/../other main%2f..%2fother main/%2e%2e/other //other \\other other%20 other%09".split(
    " ",
  ),
  ..."ot%68er ｏther other%c0%af .. . %2e%2e * main,other main%0d%0aother".split(" "),
].map((cluster) => `/v1/clusters/${cluster}/wal/000000010000000000000001`);
export const PLACES =
  "/etc/passwd /../../etc/passwd /..%2f..%2fetc/passwd /v1/../etc/passwd //etc/passwd";

export interface Attack {
  readonly what: string;
  readonly connections: number;
  /** What each of them says, in pieces that come one after another. */
  readonly says: (at: number) => string | Uint8Array;
  /** What each is answered, if anything. */
  readonly status?: number;
  /** Lines that each leaves: none if not told. */
  readonly lines?: 1 | "any";
}

/** Said over plain TCP, or within TLS. */
export const HTTP_ATTACKS: readonly Attack[] = [
  { what: "silent connections", connections: 300, says: () => "" },
  { what: "slow heads", connections: 300, says: () => PUT.slice(0, 60) },
  {
    what: "slow bodies of strangers",
    connections: 60,
    says: () => `${STRANGE_PUT}content-length: 1048576\r\n\r\nslow`,
    status: 401,
    lines: 1,
  },
  {
    what: "slow bodies of somebody known",
    connections: 60,
    says: () => Buffer.concat([Buffer.from(`${PUT}content-length: 1048576\r\n\r\n`), FIRST_64_KB]),
    lines: "any",
  },
  {
    what: "too many headers",
    connections: 20,
    says: () => `${PUT}${"x: y\r\n".repeat(500)}\r\n`,
    status: 431,
    lines: 1,
  },
  {
    what: "heads without end",
    connections: 20,
    says: () => `${PUT}x: ${"y".repeat(100_000)}`,
    status: 431,
    lines: 1,
  },
  {
    what: "bombs of strangers",
    connections: 20,
    says: () => bomb(STRANGE_PUT),
    status: 401,
    lines: 1,
  },
  { what: "bombs", connections: 20, says: () => bomb(PUT), status: 422, lines: 1 },
  {
    what: "two lengths",
    connections: 20,
    says: () =>
      `${PUT}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1`,
    status: 400,
    lines: 1,
  },
  {
    what: "chunk extensions without end",
    connections: 10,
    says: () => `${PUT}transfer-encoding: chunked\r\n\r\n4;${"x".repeat(MIB)}\r\nbody`,
    status: 413,
    lines: 1,
  },
  {
    what: "forged lines",
    connections: 10,
    says: () => `PUT ${PATH}\u2028%0d%0a{"level":"info"}\u001b[2J HTTP/1.1\r\n${AUTH}\r\n`,
    status: 400,
    lines: 1,
  },
  { what: "no HTTP at all", connections: 20, says: noise, status: 400, lines: 1 },
  {
    what: "another's token",
    connections: 20,
    says: () => `${STRANGE_PUT}authorization: Bearer ${OTHER}\r\ncontent-length: 4\r\n\r\nbody`,
    status: 403,
    lines: 1,
  },
  {
    what: "wrong tokens",
    connections: 20,
    says: (at) =>
      `${STRANGE_PUT}authorization: Bearer ${PUSHER}${at}\r\ncontent-length: 4\r\n\r\nbody`,
    status: 401,
    lines: 1,
  },
];

function bomb(head: string): Buffer {
  const headers = `content-encoding: zstd\r\ncontent-length: ${BOMB.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head + headers), BOMB]);
}

function noise(at: number): Buffer {
  return Buffer.from(`${String.fromCharCode(at)}\u0000\u00ff noise ${"\u0001".repeat(at)}\r\n\r\n`);
}
