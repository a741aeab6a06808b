/** What a daemon that runs can take over of a new configuration. */
import type { ClusterConfig, Config, ServerConfig } from "./config.ts";

export interface Change {
  /** The new configuration, where it can be taken over; the old one, where it cannot. */
  readonly config: Config;
  /** Keys that were changed and stay what they were until a restart. */
  readonly needsRestart: readonly string[];
}

/** What may be taken over: everything but listeners, the store and the identity of clusters. */
export function takeOver(current: Config, next: Config): Change {
  const needsRestart: string[] = [];
  const keep = <Value>(key: string, old: Value, wanted: Value): Value => {
    if (!isSame(old, wanted)) needsRestart.push(key);
    return old;
  };
  const [old, wanted] = [current.server, next.server];
  const isTlsAlike = tlsKind(old) === tlsKind(wanted);
  const server = {
    ...wanted,
    listen: keep("server.listen", old.listen, wanted.listen),
    socket: keep("server.socket", old.socket, wanted.socket),
    shutdownGraceMs: keep("server.shutdown_grace", old.shutdownGraceMs, wanted.shutdownGraceMs),
    tls: isTlsAlike ? wanted.tls : keep("server.tls", old.tls, wanted.tls),
  };
  const clusters = new Map(next.clusters);
  for (const [name, cluster] of clusters) {
    const before = current.clusters.get(name);
    if (before !== undefined) clusters.set(name, keepIdentity(name, { before, cluster, keep }));
  }
  const store = keep("store", current.store, next.store);
  return { config: { ...next, server, store, clusters }, needsRestart };
}

/** A listener begins with asking for TLS and for client certificates, or never does. */
function tlsKind({ tls }: ServerConfig): string {
  if (tls === undefined) return "none";
  return tls.clientCaFile === undefined ? "server" : "both";
}

type Keep = <Value>(key: string, old: Value, wanted: Value) => Value;

function keepIdentity(
  name: string,
  { before, cluster, keep }: { before: ClusterConfig; cluster: ClusterConfig; keep: Keep },
): ClusterConfig {
  const key = (last: string) => `clusters.${name}.${last}`;
  return {
    ...cluster,
    systemIdentifier: keep(
      key("system_identifier"),
      before.systemIdentifier,
      cluster.systemIdentifier,
    ),
    dataDirectory: keep(key("data_directory"), before.dataDirectory, cluster.dataDirectory),
  };
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
