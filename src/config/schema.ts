/**
 * The configuration file as it is written: every key, its default and its bounds. `config.ts` makes
 * the values of a file that fits into a `Config`.
 */
import * as Type from "typebox";
import type { Form } from "./forms.ts";
import { DEFAULT_LISTEN, DEFAULT_SOCKET } from "./places.ts";

const strict = { additionalProperties: false } as const;
/** A table that may be left out whole: its keys have defaults. */
const optionalTable = { ...strict, default: {} } as const;

/** A value with a grammar of its own; the texts of refusals come from the form, not from a type. */
function formed<Value = string>(form: Form, options: { default?: Value } = {}) {
  return Type.Unsafe<Value>({ form, ...options });
}

/** A closed choice of words. */
function oneOf<const Words extends readonly string[]>(
  words: Words,
  options: { default?: Words[number] } = {},
) {
  return Type.Unsafe<Words[number]>({ enum: [...words], ...options });
}

const noPath = () => formed({ name: "path", mayBeEmpty: true }, { default: "" });

export const SCOPES = ["push", "fetch", "report", "read", "admin"] as const;
export type Scope = (typeof SCOPES)[number];

const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const Server = Type.Object(
  {
    listen: formed({ name: "listen", mayBeEmpty: true }, { default: DEFAULT_LISTEN }),
    socket: formed({ name: "socket-path", mayBeEmpty: true }, { default: DEFAULT_SOCKET }),
    socket_mode: formed({ name: "file-mode" }, { default: "0660" }),
    auth: oneOf(["token", "none"], { default: "token" }),
    loopback_read: Type.Boolean({ default: true }),
    shutdown_grace: formed({ name: "duration", least: "0s", most: "1h" }, { default: "20s" }),
    tls: Type.Object(
      { cert_file: noPath(), key_file: noPath(), client_ca_file: noPath() },
      optionalTable,
    ),
  },
  optionalTable,
);

const compression = {
  // The levels zstd has; 0 stands for its own default of 3.
  compression_level: Type.Integer({ minimum: -7, maximum: 19, default: 1 }),
};

const DiskStore = Type.Object(
  { kind: oneOf(["disk"], { default: "disk" }), path: formed({ name: "path" }), ...compression },
  strict,
);

const S3Store = Type.Object(
  {
    kind: oneOf(["s3"]),
    bucket: formed({ name: "bucket" }),
    prefix: formed({ name: "object-prefix", mayBeEmpty: true }, { default: "" }),
    region: Type.String({ default: "" }),
    endpoint: formed({ name: "endpoint", mayBeEmpty: true }, { default: "" }),
    force_path_style: Type.Boolean({ default: false }),
    server_side_encryption: oneOf(["", "AES256", "aws:kms"], { default: "" }),
    kms_key_id: formed({ name: "kms-key", mayBeEmpty: true }, { default: "" }),
    storage_class: formed({ name: "storage-class", mayBeEmpty: true }, { default: "" }),
    request_timeout: formed({ name: "duration", least: "1s", most: "5m" }, { default: "10s" }),
    ...compression,
  },
  strict,
);

/** By `store.kind`, so that the keys of one kind cannot stand beside the other's. */
export const STORES = { disk: DiskStore, s3: S3Store } as const;
export type StoreKind = keyof typeof STORES;

const Token = Type.Object(
  {
    name: formed({ name: "token-name" }),
    sha256: formed({ name: "sha256" }),
    clusters: Type.Array(formed({ name: "cluster-name", orStar: true }), {
      minItems: 1,
      uniqueItems: true,
    }),
    scopes: Type.Array(oneOf(SCOPES), { minItems: 1, uniqueItems: true }),
  },
  strict,
);

/** Rights of those who show a client certificate with this name. */
const Certificate = Type.Object(
  {
    name: formed({ name: "certificate-name" }),
    clusters: Token.properties.clusters,
    scopes: Token.properties.scopes,
  },
  strict,
);

const Retention = Type.Object(
  {
    interval: formed({ name: "duration", least: "100ms", most: "1d" }, { default: "60s" }),
    keep_backups: Type.Integer({ minimum: 0, maximum: 10_000, default: 2 }),
    keep_for: Type.Optional(
      formed({ name: "duration", mayBeEmpty: true, least: "1s", most: "36500d" }),
    ),
    keep_bytes: Type.Optional(
      formed<string | number>({ name: "size", mayBeEmpty: true, least: "1MB" }),
    ),
    stale_after: formed({ name: "duration", least: "100ms", most: "3650d" }, { default: "24h" }),
    stale_policy: oneOf(["hold", "release"], { default: "hold" }),
  },
  optionalTable,
);

/** What is archived at once may take the network, or the disk, from everybody else. */
const Push = Type.Object(
  {
    rate_limit: Type.Optional(
      formed<string | number>({ name: "size", mayBeEmpty: true, least: "1MB" }),
    ),
    catch_up_after: formed({ name: "duration", least: "1s", most: "30d" }, { default: "5m" }),
    catch_up_files: Type.Integer({ minimum: 1, maximum: 1_000_000, default: 64 }),
  },
  optionalTable,
);

const Standby = Type.Object({ conninfo: Type.String({ default: "" }) }, strict);

const Cluster = Type.Object(
  {
    system_identifier: Type.Optional(
      formed<string | number | bigint>({ name: "system-identifier", mayBeEmpty: true }),
    ),
    data_directory: formed({ name: "path", mayBeEmpty: true }, { default: "" }),
    push: Push,
    retention: Retention,
    standbys: named(Standby, { name: "standby-name" }),
  },
  strict,
);

const Spool = Type.Object(
  {
    path: formed({ name: "path" }),
    cluster: formed({ name: "cluster-name" }),
    settle: formed({ name: "duration", least: "10ms", most: "1h" }, { default: "2s" }),
    incomplete_after: formed({ name: "duration", least: "100ms", most: "30d" }, { default: "10m" }),
  },
  strict,
);

/** The keys of `client-keys.ts`, checked here so that `check-config` sees the whole file. */
const Client = Type.Object(
  {
    server: formed({ name: "server-url", mayBeEmpty: true }, { default: "" }),
    cluster: formed({ name: "cluster-name", mayBeEmpty: true }, { default: "" }),
    token_file: noPath(),
    ca_file: noPath(),
    cert_file: noPath(),
    key_file: noPath(),
    timeout: Type.Optional(
      formed<string | number>({ name: "timeout", mayBeEmpty: true, most: "24d" }),
    ),
    prefetch: Type.Optional(formed<string | number>({ name: "size", mayBeEmpty: true })),
    look_ahead: Type.Optional(formed<string | number>({ name: "size", mayBeEmpty: true })),
  },
  optionalTable,
);

const Log = Type.Object({ level: oneOf(LOG_LEVELS, { default: "info" }) }, optionalTable);

/** The whole file. */
export function fileSchema<Store extends Type.TSchema>(store: Store) {
  return Type.Object(
    {
      server: Server,
      store,
      tokens: Type.Array(Token, { default: [] }),
      certificates: Type.Array(Certificate, { default: [] }),
      clusters: named(Cluster, { name: "cluster-name" }),
      spool: Type.Array(Spool, { default: [] }),
      log: Log,
      client: Client,
    },
    strict,
  );
}

/** Tables by name; the names have a form of their own. */
function named<Value extends Type.TSchema>(value: Value, name: Form) {
  return Type.Unsafe<Record<string, Type.Static<Value>>>({
    type: "object",
    propertyNames: { form: name },
    additionalProperties: value,
    default: {},
  });
}

/** A file that fits, with every default filled in. */
export type FileConfig = Type.Static<ReturnType<typeof fileSchema<(typeof STORES)[StoreKind]>>>;
