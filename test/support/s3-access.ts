import {
  CreateBucketCommand,
  DeleteObjectsCommand,
  PutObjectCommand,
  paginateListObjectsV2,
  S3Client,
} from "@aws-sdk/client-s3";

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

/** `[store]` of a daemon's configuration. */
export function storeTable(access: S3Access, bucket: string): string {
  return `[store]
kind = "s3"
bucket = "${bucket}"
endpoint = "${access.endpoint}"
region = "${access.region}"
force_path_style = true
`;
}

/** What lies in a bucket, seen past walarc. */
export class Bucket implements Disposable {
  readonly name: string;
  readonly access: S3Access;
  readonly client: S3Client;

  constructor(name: string, access: S3Access) {
    this.name = name;
    this.access = access;
    const { accessKeyId, secretAccessKey } = access;
    this.client = new S3Client({
      endpoint: access.endpoint,
      region: access.region,
      forcePathStyle: true,
      credentials: { accessKeyId, secretAccessKey },
    });
  }

  async create(): Promise<void> {
    await this.client.send(new CreateBucketCommand({ Bucket: this.name }));
  }

  /** Every key with its size in bytes. */
  async objects(): Promise<Map<string, number>> {
    const found = new Map<string, number>();
    const pages = paginateListObjectsV2({ client: this.client }, { Bucket: this.name });
    for await (const { Contents = [] } of pages) {
      for (const { Key = "", Size = 0 } of Contents) found.set(Key, Size);
    }
    return found;
  }

  /** Puts an object, whatever is there. */
  async put(key: string, body: Uint8Array): Promise<void> {
    await this.client.send(new PutObjectCommand({ Bucket: this.name, Key: key, Body: body }));
  }

  async remove(keys: readonly string[]): Promise<void> {
    const Delete = { Objects: keys.map((Key) => ({ Key })), Quiet: true };
    await this.client.send(new DeleteObjectsCommand({ Bucket: this.name, Delete }));
  }

  [Symbol.dispose](): void {
    this.client.destroy();
  }
}
