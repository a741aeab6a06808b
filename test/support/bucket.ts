import {
  CreateBucketCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  PutBucketPolicyCommand,
  PutObjectCommand,
  paginateListObjectsV2,
  S3Client,
} from "@aws-sdk/client-s3";
import type { BucketPlace, S3Access } from "./s3-access.ts";

/** What lies in a bucket, seen past walarc. */
export class Bucket implements BucketPlace, Disposable {
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

  /** Who else may do what here, as JSON. */
  async allow(policy: string): Promise<void> {
    await this.client.send(new PutBucketPolicyCommand({ Bucket: this.name, Policy: policy }));
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

  async get(key: string): Promise<Buffer> {
    const asked = new GetObjectCommand({ Bucket: this.name, Key: key });
    const { Body } = await this.client.send(asked);
    if (Body === undefined) throw new Error(`${key} came without a body`);
    return Buffer.from(await Body.transformToByteArray());
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
