import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandInput,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3ServiceException,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeRgw } from "../support/rgw-scene.ts";
import { Bucket } from "../support/bucket.ts";
import { S3Server } from "../support/s3-server.ts";

const CONTENT = "0123456789";

/** The requests that walarc lives on, with the corners that its promises hang on. */
const REQUESTS: Readonly<Record<string, (bucket: Bucket) => Promise<unknown>>> = {
  "a new object": (bucket) => put(bucket, { Key: "a/new" }),
  "an object that must be new": (bucket) => put(bucket, { Key: "a/first", IfNoneMatch: "*" }),
  "an object that must be new and is not": async (bucket) => {
    await put(bucket, { Key: "a/second" });
    await put(bucket, { Key: "a/second", IfNoneMatch: "*", Body: "other" });
    return get(bucket, { Key: "a/second" });
  },
  "an object that may replace only this one": async (bucket) => {
    await put(bucket, { Key: "a/if" });
    // Without quotes: Ceph 16 and 18 take a quoted one for another object's.
    const IfMatch = "781e5e245d69b566979b86e28d23f2c7";
    const mine = await put(bucket, { Key: "a/if", Body: "other", IfMatch });
    const late = await put(bucket, { Key: "a/if", Body: "third", IfMatch });
    return [mine, late, await get(bucket, { Key: "a/if" })];
  },
  "of sixteen objects that must be new one": async (bucket) => {
    const bodies = Array.from({ length: 16 }, (_, index) => `content ${index}`);
    const answers = await Promise.all(
      bodies.map((Body) => put(bucket, { Key: "a/race", Body, IfNoneMatch: "*" })),
    );
    return answers.map(({ status }) => status).sort(byNumber);
  },
  "an object that is not there": (bucket) => get(bucket, { Key: "a/nothing" }),
  "the head of an object that is not there": (bucket) => head(bucket, "a/nothing"),
  "the head of an object": async (bucket) => {
    await put(bucket, { Key: "a/h", Metadata: { "walarc-sha256": "00ff", size: "10" } });
    return head(bucket, "a/h");
  },
  "an object with an odd name": async (bucket) => {
    await put(bucket, { Key: "a/ü +&<%25>" });
    return [await get(bucket, { Key: "a/ü +&<%25>" }), await list(bucket, { Prefix: "a/ü" })];
  },
  "an empty object": async (bucket) => {
    await put(bucket, { Key: "a/empty", Body: "" });
    return get(bucket, { Key: "a/empty" });
  },
  "ranges of an object": async (bucket) => {
    await put(bucket, { Key: "a/range" });
    const ranges = ["3-5", "7-", "7-99", "-4", "-99", "10-12", "10-"];
    return Promise.all(
      ranges.map((range) => get(bucket, { Key: "a/range", Range: `bytes=${range}` })),
    );
  },
  "a copy": async (bucket) => {
    await put(bucket, { Key: "a/original", Metadata: { size: "10" } });
    const CopySource = `${bucket.name}/a/original`;
    const input = { Bucket: bucket.name, Key: "a/copy", CopySource };
    const { CopyObjectResult } = await bucket.client.send(new CopyObjectCommand(input));
    // Ceph gives it without the quotes that AWS gives it with.
    return [CopyObjectResult?.ETag?.replaceAll('"', ""), await head(bucket, "a/copy")];
  },
  removals: async (bucket) => {
    for (const Key of ["d/1", "d/2", "d/3", "d/4"]) await put(bucket, { Key });
    const one = new DeleteObjectCommand({ Bucket: bucket.name, Key: "d/4" });
    const statuses = [await told(bucket.client.send(one)), await told(bucket.client.send(one))];
    await bucket.remove(["d/1", "d/3", "d/9"]);
    return [statuses, await list(bucket, { Prefix: "d/" })];
  },
  listings: async (bucket) => {
    for (const Key of ["l/a", "l/a.b", "l/a/1", "l/a/2", "l/b/1", "l/c"])
      await put(bucket, { Key });
    return [
      await list(bucket, { Prefix: "l/", MaxKeys: 2 }),
      await list(bucket, { Prefix: "l/", StartAfter: "l/a.b" }),
      await list(bucket, { Prefix: "l/", Delimiter: "/" }),
      await list(bucket, { Prefix: "nothing/" }),
    ];
  },
};

describeRgw("the S3 server of the tests", (rgw) => {
  const stack = new AsyncDisposableStack();
  let ours: Bucket;
  let theirs: Bucket;
  beforeAll(async () => {
    const server = stack.use(await S3Server.start());
    ours = stack.use(new Bucket(server.bucketName, server.access));
    theirs = stack.use(await rgw().bucket());
  });
  afterAll(() => stack.disposeAsync());

  for (const [title, send] of Object.entries(REQUESTS)) {
    test(`answers as Ceph's gateway does: ${title}`, async () => {
      expect(await send(ours)).toEqual(await send(theirs));
    });
  }
});

function put(bucket: Bucket, input: Omit<PutObjectCommandInput, "Bucket">) {
  const command = new PutObjectCommand({ Body: CONTENT, ...input, Bucket: bucket.name });
  return told(bucket.client.send(command), ({ ETag }) => ({ ETag }));
}

function get(bucket: Bucket, input: { Key: string; Range?: string }) {
  const command = new GetObjectCommand({ ...input, Bucket: bucket.name });
  return told(bucket.client.send(command), async ({ Body, ContentRange, ContentLength, ETag }) => {
    return { body: await Body?.transformToString(), ContentRange, ContentLength, ETag };
  });
}

function head(bucket: Bucket, Key: string) {
  const command = new HeadObjectCommand({ Key, Bucket: bucket.name });
  return told(bucket.client.send(command), ({ ContentLength, ETag, Metadata }) => {
    return { ContentLength, ETag, Metadata };
  });
}

/** Whole listings, page by page. */
async function list(bucket: Bucket, input: Omit<ListObjectsV2CommandInput, "Bucket">) {
  const pages: unknown[] = [];
  let ContinuationToken: string | undefined;
  do {
    const command = new ListObjectsV2Command({ ...input, ContinuationToken, Bucket: bucket.name });
    const page = await bucket.client.send(command);
    const keys = page.Contents?.map(({ Key, Size, ETag }) => ({ Key, Size, ETag }));
    const prefixes = page.CommonPrefixes?.map(({ Prefix }) => Prefix);
    pages.push({ keys, prefixes });
    ContinuationToken = page.IsTruncated === true ? page.NextContinuationToken : undefined;
  } while (ContinuationToken !== undefined);
  return pages;
}

function byNumber(a = 0, b = 0): number {
  return a - b;
}

/** What a client can tell of an answer, without what no two servers have in common. */
async function told<Output extends { $metadata: { httpStatusCode?: number | undefined } }>(
  sent: Promise<Output>,
  pick: (output: Output) => object | Promise<object> = () => ({}),
): Promise<{ status: number | undefined }> {
  try {
    const output = await sent;
    return { status: output.$metadata.httpStatusCode, ...(await pick(output)) };
  } catch (error) {
    if (!(error instanceof S3ServiceException)) throw error;
    const refused = { status: error.$metadata.httpStatusCode, code: error.name };
    return refused;
  }
}
