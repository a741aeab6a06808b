/** How to reach an S3 server that a test runs. */
export interface S3Access {
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** The environment from which the SDK's own chain takes its credentials, and from nowhere else. */
export function environmentOf(access: S3Access): Readonly<Record<string, string>> {
  return {
    AWS_ACCESS_KEY_ID: access.accessKeyId,
    AWS_SECRET_ACCESS_KEY: access.secretAccessKey,
    AWS_EC2_METADATA_DISABLED: "true",
  };
}

/** A bucket, and how it is reached: by a way of one's own, if a test wants to stand in it. */
export interface BucketPlace {
  readonly name: string;
  readonly access: S3Access;
}

/** `[store]` of a daemon's configuration. */
export function storeTable({ name, access }: BucketPlace): string {
  return `[store]
kind = "s3"
bucket = "${name}"
endpoint = "${access.endpoint}"
region = "${access.region}"
force_path_style = true
`;
}
