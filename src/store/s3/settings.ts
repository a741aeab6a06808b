/** Where the bucket is and how objects are put into it. */
export interface S3Settings {
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
