/** From the text of a configuration file to a `Config`, or to all its problems. */
import { join } from "node:path";
import { crossProblems, warningsOf } from "./checks.ts";
import type { ClusterConfig, Config, PushRateConfig, ServerConfig, StoreConfig } from "./config.ts";
import { ConfigFailure } from "./failure.ts";
import { measureSizeBytes, parseSystemIdentifier } from "./forms.ts";
import { parseListenAddress } from "./listen.ts";
import { formatPath, type Problem, shapeProblems, type Table } from "./problems.ts";
import type { FileConfig } from "./schema.ts";
import { parseToml, takeOutDates } from "./toml.ts";
import { parseDurationMs, parseFileMode } from "./units.ts";

/** The configuration in a TOML text. Throws a `ConfigFailure` with every problem. */
export function parseConfig(text: string): Config {
  return configOf(parseToml(text));
}

/** The daemon without a configuration file: everything below the working directory. */
export function defaultConfig(workingDirectory: string): Config {
  const directory = join(workingDirectory, "walarc-data");
  const config = configOf({
    // Nobody but the directory's owner reaches the socket, whatever its own mode.
    server: { socket: join(directory, "walarc.sock"), socket_mode: "0600" },
    store: { kind: "disk", path: join(directory, "store") },
  });
  return { ...config, embeddedDirectory: directory };
}

/**
 * Whether the text is a client's configuration, with no table but `[client]`. Throws a
 * `ConfigFailure` when it is one and has problems.
 */
export function checkClientFile(text: string): boolean {
  const tables = parseToml(text);
  if (Object.keys(tables).join() !== "client") return false;
  configOf({ ...tables, store: { kind: "disk", path: "/" } });
  return true;
}

/** Makes a `Config` of parsed tables and changes them. Throws a `ConfigFailure`. */
export function configOf(tables: Table): Config {
  const problems = [...takeOutDates(tables), ...shapeProblems(tables)];
  problems.push(...crossProblems(tables, problems));
  throwProblems(problems);
  return convert(tables as unknown as FileConfig);
}

function throwProblems(problems: readonly Problem[]): void {
  if (problems.length === 0) return;
  throw new ConfigFailure(problems.map(({ path, why }) => ({ path: formatPath(path), why })));
}

function convert(file: FileConfig): Config {
  return {
    server: convertServer(file.server),
    store: convertStore(file.store),
    tokens: file.tokens.map((token) => ({ ...token, sha256: token.sha256.toLowerCase() })),
    certificates: file.certificates,
    clusters: mapValues(file.clusters, convertCluster),
    spools: file.spool.map((spool) => ({
      path: spool.path,
      cluster: spool.cluster,
      settleMs: milliseconds(spool.settle),
      incompleteAfterMs: milliseconds(spool.incomplete_after),
    })),
    log: file.log,
    warnings: warningsOf(file),
    embeddedDirectory: undefined,
  };
}

function convertServer(server: FileConfig["server"]): ServerConfig {
  const { cert_file: certFile, key_file: keyFile, client_ca_file: clientCaFile } = server.tls;
  const mode = given(parseFileMode(server.socket_mode));
  return {
    listen: parseListenAddress(server.listen),
    socket: server.socket === "" ? undefined : { path: server.socket, mode },
    auth: server.auth,
    loopbackRead: server.loopback_read,
    shutdownGraceMs: milliseconds(server.shutdown_grace),
    tls:
      certFile === "" ? undefined : { certFile, keyFile, clientCaFile: clientCaFile || undefined },
  };
}

function convertStore(store: FileConfig["store"]): StoreConfig {
  const compressionLevel = store.compression_level;
  if (store.kind === "disk") return { kind: "disk", path: store.path, compressionLevel };
  return {
    kind: "s3",
    bucket: store.bucket,
    // A directory, so to speak: no other prefix can begin with ours.
    prefix: store.prefix.replace(/(?<=.)\/*$/, "/"),
    region: store.region || undefined,
    endpoint: store.endpoint || undefined,
    forcePathStyle: store.force_path_style,
    serverSideEncryption: store.server_side_encryption || undefined,
    kmsKeyId: store.kms_key_id || undefined,
    storageClass: store.storage_class || undefined,
    requestTimeoutMs: milliseconds(store.request_timeout),
    compressionLevel,
  };
}

function convertCluster(cluster: FileConfig["clusters"][string]): ClusterConfig {
  const { retention } = cluster;
  return {
    systemIdentifier: parseSystemIdentifier(cluster.system_identifier),
    dataDirectory: cluster.data_directory || undefined,
    pushRate: convertPushRate(cluster.push),
    retention: {
      intervalMs: milliseconds(retention.interval),
      keepBackups: retention.keep_backups,
      keepForMs: retention.keep_for ? milliseconds(retention.keep_for) : undefined,
      keepBytes: measureSizeBytes(retention.keep_bytes),
      staleAfterMs: milliseconds(retention.stale_after),
      stalePolicy: retention.stale_policy,
    },
    standbys: mapValues(cluster.standbys, ({ conninfo }) => ({ conninfo: conninfo || undefined })),
  };
}

function convertPushRate(push: FileConfig["clusters"][string]["push"]): PushRateConfig | undefined {
  const bytesPerSecond = measureSizeBytes(push.rate_limit);
  if (bytesPerSecond === undefined) return undefined;
  const catchUpAfterMs = milliseconds(push.catch_up_after);
  return { bytesPerSecond, catchUpAfterMs, catchUpFiles: push.catch_up_files };
}

function mapValues<From, To>(
  values: Readonly<Record<string, From>>,
  change: (value: From) => To,
): ReadonlyMap<string, To> {
  return new Map(Object.entries(values).map(([name, value]) => [name, change(value)]));
}

function milliseconds(text: string): number {
  return given(parseDurationMs(text));
}

/** What the schema has checked cannot be missing. */
function given<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new Error("the schema let an unreadable value through");
  return value;
}
