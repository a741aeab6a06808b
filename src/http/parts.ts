/** What a listener's server is made of, and the limits it keeps. */
import type { Logger } from "pino";
import type { Readiness } from "../archive/readiness.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Access } from "./auth.ts";
import type { Bodies } from "./bodies.ts";
import type { TlsIdentity } from "./tls-identity.ts";
import type { WalArchive } from "./wal-archive.ts";

export interface Limits {
  /** Of a TLS handshake, and of the head of a request. */
  readonly headDeadlineMs: number;
  /** A push from its first byte to its answer. Less than the client's 60 s, so that it is told. */
  readonly pushDeadlineMs: number;
  /** A fetch to its last byte: the longest that a client waits in recovery. */
  readonly fetchDeadlineMs: number;
  /** Any other answer. */
  readonly answerDeadlineMs: number;
  /** Longest silence in a body, either way. */
  readonly stallMs: number;
  /** Of one body, compressed or not: the largest segment there is. */
  readonly bodyBytesMax: number;
  readonly connectionsMax: number;
}

export const DEFAULT_LIMITS: Limits = {
  headDeadlineMs: 10_000,
  pushDeadlineMs: 55_000,
  fetchDeadlineMs: 300_000,
  answerDeadlineMs: 25_000,
  stallMs: 20_000,
  bodyBytesMax: 1024 ** 3,
  connectionsMax: 2500,
};

export interface ServerParts {
  readonly archive: WalArchive;
  readonly readiness: () => Readiness;
  /** The rules of the listener. */
  readonly access: Access;
  readonly metrics: Metrics;
  /** Only over a socket are callers known to be on this host, where files can be named to them. */
  readonly listener: "tcp" | "socket";
  /** What the listener proves itself with, where it speaks TLS. */
  readonly tls?: TlsIdentity | undefined;
  readonly log: Logger;
  /** Of all listeners together; its own where there is one only. */
  readonly bodies?: Bodies;
  /** How long requests under way may go on after the server was disposed. */
  readonly shutdownGraceMs: number;
  readonly limits?: Partial<Limits>;
}

/** What the routes see of it. */
export interface RouteParts
  extends Pick<ServerParts, "archive" | "readiness" | "access" | "metrics" | "listener"> {
  readonly limits: Limits;
  readonly bodies: Bodies;
}
