/**
 * One S3 request each, and nothing more: no retry, no decision, no error of ours. The only file
 * that knows the AWS SDK, so that a daemon with another store never loads it.
 */
import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  ListObjectsV2Command,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3Client,
  type S3ClientConfig,
} from "@aws-sdk/client-s3";
import type {
  Answered,
  Body,
  BucketRequests,
  Found,
  ListPage,
  PutAt,
  PutConditions,
} from "./wire.ts";
import { takeObjects } from "./list-body.ts";
import type { BucketConfig } from "../../config/config.ts";

/** Pushes and fetches of all clusters together stay below; more requests wait for a connection. */
const CONNECTIONS_MAX = 128;
const CONNECT_MS_MAX = 5_000;
/** The region in signatures where a server of one's own has none. */
const ANY_REGION = "us-east-1";

const HEX_DIGEST = /^[0-9a-f]{64}$/;

type Tagged = Pick<HeadObjectCommandOutput, "ETag" | "$metadata">;

/** Rejects with what the SDK rejects with. */
export class Bucket implements BucketRequests {
  readonly #settings: BucketConfig;
  #client: S3Client;
  /** Whether this server was seen to number its answers, as nearly all do. */
  #isNumbering = false;

  constructor(settings: BucketConfig) {
    this.#settings = settings;
    this.#client = clientFor(settings);
  }

  async credentials(): Promise<{ accessKeyId: string; secretAccessKey: string }> {
    return await this.#client.config.credentials();
  }

  /** The next request asks the credential chain anew, its files included. */
  renewCredentials(): void {
    // The connections stay: those of requests under way, too.
    this.#client = clientFor(this.#settings, this.#client);
  }

  async put(
    key: string,
    body: Body,
    options: PutConditions & { metadata: Record<string, string>; signal: AbortSignal },
  ): Promise<Answered> {
    const content = body.open();
    const command = new PutObjectCommand({
      ...this.#at(key),
      ...this.#encryption(),
      Body: content,
      ContentLength: body.sizeBytes,
      Metadata: options.metadata,
      ...(options.hasChecksum ? { ChecksumSHA256: base64(body.sha256) } : {}),
      ...(options.ifNoneMatch === undefined ? {} : { IfNoneMatch: options.ifNoneMatch }),
      ...(options.ifMatch === undefined ? {} : { IfMatch: options.ifMatch }),
    });
    signPayloadAs(command, body.sha256);
    try {
      const answer = await this.#client.send(command, { abortSignal: options.signal });
      return { etag: this.#etagOf(answer), sha256: hex(answer.ChecksumSHA256) };
    } finally {
      if ("destroy" in content) content.destroy();
    }
  }

  async get(
    key: string,
    options: { range?: string; ifMatch?: string; signal: AbortSignal },
  ): Promise<Found & { readonly body: Readable }> {
    const command = new GetObjectCommand({
      ...this.#at(key),
      ...(options.range === undefined ? {} : { Range: options.range }),
      ...(options.ifMatch === undefined ? {} : { IfMatch: options.ifMatch }),
    });
    const answer = await this.#client.send(command, { abortSignal: options.signal });
    return {
      sizeBytes: answer.ContentLength,
      etag: this.#etagOf(answer),
      metadata: answer.Metadata ?? {},
      body: answer.Body as Readable,
    };
  }

  async head(key: string, { signal }: { signal: AbortSignal }): Promise<Found> {
    const answer = await this.#client.send(new HeadObjectCommand(this.#at(key)), {
      abortSignal: signal,
    });
    return {
      sizeBytes: answer.ContentLength,
      etag: this.#etagOf(answer),
      metadata: answer.Metadata ?? {},
    };
  }

  async list(
    prefix: string,
    options: {
      after?: string;
      token?: string;
      delimiter?: string;
      keysMax?: number;
      signal: AbortSignal;
    },
  ): Promise<ListPage> {
    const { prefix: root } = this.#settings;
    const command = new ListObjectsV2Command({
      Bucket: this.#settings.bucket,
      Prefix: root + prefix,
      ...(options.after === undefined ? {} : { StartAfter: root + options.after }),
      ...(options.token === undefined ? {} : { ContinuationToken: options.token }),
      ...(options.delimiter === undefined ? {} : { Delimiter: options.delimiter }),
      ...(options.keysMax === undefined ? {} : { MaxKeys: options.keysMax }),
    });
    const taken = objectsTakenFrom(command);
    const answer = await this.#client.send(command, { abortSignal: options.signal });
    const left = (answer.Contents ?? []).map(({ Key = "", Size = 0 }) => {
      return { key: Key, storedBytes: Size };
    });
    return {
      objects: [...taken, ...left].map(({ key, storedBytes }) => {
        return { key: key.slice(root.length), storedBytes };
      }),
      prefixes: (answer.CommonPrefixes ?? []).map(({ Prefix = "" }) => Prefix.slice(root.length)),
      isTruncated: answer.IsTruncated,
      next: answer.NextContinuationToken,
    };
  }

  async ages(prefix: string, { signal }: { signal: AbortSignal }): Promise<PutAt[]> {
    const { bucket, prefix: root } = this.#settings;
    const command = new ListObjectsV2Command({ Bucket: bucket, Prefix: root + prefix });
    const { Contents = [] } = await this.#client.send(command, { abortSignal: signal });
    return Contents.map(({ Key = "", LastModified }) => {
      return { key: Key.slice(root.length), putAtMs: LastModified?.getTime() };
    });
  }

  async remove(key: string, { signal }: { signal: AbortSignal }): Promise<void> {
    await this.#client.send(new DeleteObjectCommand(this.#at(key)), { abortSignal: signal });
  }

  async removeMany(
    keys: readonly string[],
    { signal }: { signal: AbortSignal },
  ): Promise<string[]> {
    const { bucket, prefix } = this.#settings;
    const command = new DeleteObjectsCommand({
      Bucket: bucket,
      Delete: { Objects: keys.map((key) => ({ Key: prefix + key })) },
    });
    const { Deleted = [] } = await this.#client.send(command, { abortSignal: signal });
    return Deleted.map(({ Key = "" }) => Key.slice(prefix.length));
  }

  async copy(
    from: string,
    to: string,
    { etag, signal }: { etag: string | undefined; signal: AbortSignal },
  ): Promise<void> {
    const { bucket, prefix } = this.#settings;
    const source = `${bucket}/${prefix}${from}`.split("/").map(encodeURIComponent).join("/");
    const command = new CopyObjectCommand({
      ...this.#at(to),
      ...this.#encryption(),
      CopySource: source,
      ...(etag === undefined ? {} : { CopySourceIfMatch: etag }),
    });
    await this.#client.send(command, { abortSignal: signal });
  }

  close(): void {
    this.#client.destroy();
  }

  #at(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#settings.bucket, Key: this.#settings.prefix + key };
  }

  /**
   * A web server that stands in for a moment (a login or maintenance page) gives its page an ETag,
   * too, but no number of a request. What comes without one, where others had it, has none for us.
   */
  #etagOf({ ETag, $metadata: { requestId } }: Tagged): string | undefined {
    this.#isNumbering ||= requestId !== undefined;
    return requestId === undefined && this.#isNumbering ? undefined : ETag;
  }

  #encryption(): Pick<
    PutObjectCommandInput,
    "ServerSideEncryption" | "SSEKMSKeyId" | "StorageClass"
  > {
    const { serverSideEncryption, kmsKeyId, storageClass } = this.#settings;
    return {
      ...(serverSideEncryption === undefined ? {} : { ServerSideEncryption: serverSideEncryption }),
      ...(kmsKeyId === undefined ? {} : { SSEKMSKeyId: kmsKeyId }),
      ...(storageClass === undefined
        ? {}
        : { StorageClass: storageClass as NonNullable<PutObjectCommandInput["StorageClass"]> }),
    };
  }
}

function clientFor(settings: BucketConfig, former?: S3Client): S3Client {
  const { region, endpoint, forcePathStyle, requestTimeoutMs } = settings;
  const agent = { keepAlive: true, maxSockets: CONNECTIONS_MAX };
  const config: S3ClientConfig & { ignoreCache: boolean } = {
    forcePathStyle,
    ...(endpoint === undefined ? {} : { endpoint, region: region ?? ANY_REGION }),
    ...(region === undefined ? {} : { region }),
    // Retries and their deadlines are ours, in one place.
    maxAttempts: 1,
    // The payload is signed, so the server checks it; what older servers refuse is not sent.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    // It would cost a round trip and, in this SDK, a new connection for each push.
    expectContinueHeader: false,
    requestHandler: former?.config.requestHandler ?? {
      connectionTimeout: Math.min(CONNECT_MS_MAX, requestTimeoutMs),
      socketTimeout: requestTimeoutMs,
      // Waiting for a connection of ours is no reason for a warning on standard error.
      socketAcquisitionWarningTimeout: 2 ** 31 - 1,
      httpAgent: agent,
      httpsAgent: agent,
    },
    // Handed on to the credential chain: a rotated file is read, not remembered.
    ignoreCache: true,
  };
  return new S3Client(config);
}

/**
 * The SDK would hash the body once more for each attempt, and would not sign that of a stream.
 * Signed, it is checked by every server that checks signatures.
 */
function signPayloadAs(command: PutObjectCommand, sha256: string): void {
  command.middlewareStack.add(
    (next) => (args) => {
      const { headers } = args.request as { headers: Record<string, string> };
      headers["x-amz-content-sha256"] = sha256;
      return next(args);
    },
    { step: "build", name: "walarcPayloadDigest" },
  );
}

/** Filled when the answer comes, with what the SDK then has not to read any more. */
function objectsTakenFrom(command: ListObjectsV2Command): ListPage["objects"] {
  const objects: ListPage["objects"][number][] = [];
  const take =
    <Asked, Result extends { response: unknown }>(next: (asked: Asked) => Promise<Result>) =>
    async (asked: Asked): Promise<Result> => {
      const result = await next(asked);
      const response = result.response as { statusCode: number; body: Readable | Uint8Array };
      if (response.statusCode !== 200) return result;
      const { body } = response;
      const bytes = body instanceof Uint8Array ? body : await buffer(body);
      const taken = takeObjects(Buffer.from(bytes).toString());
      objects.push(...(taken?.objects ?? []));
      response.body = taken === undefined ? bytes : Buffer.from(taken.rest);
      return result;
    };
  command.middlewareStack.addRelativeTo(take, {
    relation: "after",
    toMiddleware: "deserializerMiddleware",
    name: "walarcListing",
  });
  return objects;
}

function base64(digest: string): string {
  return Buffer.from(digest, "hex").toString("base64");
}

function hex(digest: string | undefined): string | undefined {
  const text = Buffer.from(digest ?? "", "base64").toString("hex");
  return HEX_DIGEST.test(text) ? text : undefined;
}
