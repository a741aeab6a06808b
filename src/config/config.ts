/**
 * What the daemon is told: the configuration file as a value, with defaults filled in, units in the
 * names and everything checked. Nobody looks into the file itself.
 */
import type { ListenAddress } from "./listen.ts";
import type { LogLevel, Scope } from "./schema.ts";

export interface Config {
  readonly server: ServerConfig;
  readonly store: StoreConfig;
  readonly tokens: readonly TokenConfig[];
  readonly certificates: readonly CertificateConfig[];
  /** By name. Empty: a cluster is made at its first valid push. */
  readonly clusters: ReadonlyMap<string, ClusterConfig>;
  readonly spools: readonly SpoolConfig[];
  readonly log: { readonly level: LogLevel };
  /** What is allowed but deserves a second look; to be logged at the start. */
  readonly warnings: readonly string[];
  /**
   * Only without a configuration file: the directory that holds store and socket, to be made with
   * mode 0700 before either.
   */
  readonly embeddedDirectory: string | undefined;
}

export interface ServerConfig {
  /** `undefined`: no TCP. */
  readonly listen: ListenAddress | undefined;
  /** `undefined`: no unix socket. */
  readonly socket: { readonly path: string; readonly mode: number } | undefined;
  readonly auth: "token" | "none";
  readonly loopbackRead: boolean;
  readonly shutdownGraceMs: number;
  readonly tls:
    | {
        readonly certFile: string;
        readonly keyFile: string;
        readonly clientCaFile: string | undefined;
      }
    | undefined;
}

export type StoreConfig =
  | { readonly kind: "disk"; readonly path: string; readonly compressionLevel: number }
  | (BucketConfig & { readonly kind: "s3"; readonly compressionLevel: number });

/** Where the bucket is and how objects are put into it. */
export interface BucketConfig {
  readonly bucket: string;
  /** Empty, or ends in `/`. */
  readonly prefix: string;
  /** `undefined`: the SDK's own chain (environment, profile). */
  readonly region: string | undefined;
  /** `undefined`: AWS. */
  readonly endpoint: string | undefined;
  readonly forcePathStyle: boolean;
  readonly serverSideEncryption: "AES256" | "aws:kms" | undefined;
  readonly kmsKeyId: string | undefined;
  readonly storageClass: string | undefined;
  /** So long the server may be silent during a request. */
  readonly requestTimeoutMs: number;
}

export interface TokenConfig {
  readonly name: string;
  /** Of the token's text; 64 lower-case hex digits. */
  readonly sha256: string;
  /** Names of clusters, or `*`. */
  readonly clusters: readonly string[];
  readonly scopes: readonly Scope[];
}

/** Who shows a certificate of `clientCaFile` with this name may do what such a token allows. */
export interface CertificateConfig {
  /** The certificate's CN, or one of its DNS names. */
  readonly name: string;
  readonly clusters: readonly string[];
  readonly scopes: readonly Scope[];
}

export interface ClusterConfig {
  /** Decimal. */
  readonly systemIdentifier: string | undefined;
  readonly dataDirectory: string | undefined;
  /** `undefined`: as fast as it comes. */
  readonly pushRate: PushRateConfig | undefined;
  readonly retention: RetentionConfig;
  readonly standbys: ReadonlyMap<string, { readonly conninfo: string | undefined }>;
}

export interface PushRateConfig {
  readonly bytesPerSecond: number;
  readonly catchUpAfterMs: number;
  readonly catchUpFiles: number;
}

export interface RetentionConfig {
  readonly intervalMs: number;
  readonly keepBackups: number;
  readonly keepForMs: number | undefined;
  readonly keepBytes: number | undefined;
  readonly staleAfterMs: number;
  readonly stalePolicy: "hold" | "release";
}

export interface SpoolConfig {
  readonly path: string;
  readonly cluster: string;
  readonly settleMs: number;
  readonly incompleteAfterMs: number;
}
