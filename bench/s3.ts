/** The store in a bucket: single pushes and fetches, many at once, and the start on many objects. */
import { join } from "node:path";
import type { Bucket } from "../test/support/bucket.ts";
import { inParallel } from "../test/support/ledger.ts";
import { median, Standing, timeCommand, timed } from "./measure.ts";
import type { S3Stage } from "./s3-stage.ts";
import { measureRounds, type Tool } from "./segments.ts";
import { printTable, type Row } from "./table.ts";

const CLIENTS = 16;
const WAYS = ["plain", "tls"] as const;
const TITLES = { plain: "HTTP", tls: "TLS" } as const;
const BASE = "walarc, TLS";

/** A tool and the bucket that its requests go to. */
interface BucketTool extends Tool {
  readonly bucket: Bucket;
}

/** Pushes each segment with every tool in turn, and then fetches it; with requests per segment. */
export async function benchS3(stage: S3Stage): Promise<void> {
  const { installation, postgres } = stage.backlog;
  const objects = await storedObjects(stage);
  const target = join(await stage.directory("restored"), "RECOVERYXLOG");
  const pushes: BucketTool[] = [];
  const fetches: BucketTool[] = [];
  for (const way of WAYS) {
    const { bucket, daemon } = await stage.daemon(way);
    const standing = new Standing(daemon.pid);
    const walarc = (command: string) => `${installation.walarc} ${command} --server ${daemon.url}`;
    const name = `walarc, ${TITLES[way]}`;
    const path = (segment: string) => join(postgres.walDirectory, segment);
    pushes.push({ name, bucket, standing, command: (it) => `${walarc("push")} ${path(it)}` });
    fetches.push({ name, bucket, standing, command: (it) => `${walarc("fetch")} ${it} ${target}` });
  }
  for (const way of WAYS) {
    const bucket = await stage.rgw.bucket();
    const url = (segment: string) => `${stage.endpoint(way)}/${bucket.name}/${segment}`;
    const name = `curl of the stored object, ${TITLES[way]}`;
    const upload = (it: string) => {
      return `${stage.curl(way)} --header 'If-None-Match: *' -T ${objects.get(it)} ${url(it)}`;
    };
    pushes.push({ name, bucket, command: upload });
    fetches.push({ name, bucket, command: (it) => `${stage.curl(way)} ${url(it)}` });
  }
  for (const { bucket, repository } of await stage.pgbackrest({ manner: "sync" })) {
    const name = "pgbackrest zst, TLS";
    const path = (segment: string) => join(postgres.walDirectory, segment);
    pushes.push({ name, bucket, command: (it) => `${repository.base} archive-push ${path(it)}` });
    const get = `${repository.base} archive-get`;
    fetches.push({ name, bucket, command: (it) => `${get} ${it} ${target}` });
  }
  const count = stage.segments.length;
  const title = `one 16 MB segment in a bucket of Ceph's gateway, medians of ${count}`;
  printTable(`push of ${title}`, await measureRequests(stage, pushes), { ratioTo: BASE });
  printTable(`fetch of ${title}`, await measureRequests(stage, fetches), { ratioTo: BASE });
}

/** What every tool costs, and how many requests its bucket has had for it. */
async function measureRequests(stage: S3Stage, tools: readonly BucketTool[]): Promise<Row[]> {
  const before = tools.map(({ bucket }) => stage.requestsOf(bucket).length);
  const rows = await measureRounds(stage, tools);
  const count = stage.segments.length;
  return rows.map(({ name, figures }, at) => {
    const { bucket } = tools[at]!;
    const all = stage.requestsOf(bucket).slice(before[at]);
    const own = all.filter((line) => stage.segments.some((segment) => line.includes(segment)));
    // The others are of the cluster, of what runs in the background, or of the repository.
    const requests = { "its requests": own.length / count, "all requests": all.length / count };
    return { name, figures: { ...figures, ...requests } };
  });
}

/** Of each segment the object that walarc makes of it, in a file. */
async function storedObjects(stage: S3Stage): Promise<ReadonlyMap<string, string>> {
  const { workspace, installation, postgres } = stage.backlog;
  const { bucket, daemon } = await stage.daemon("plain");
  const directory = await stage.directory("objects");
  const objects = new Map<string, string>();
  for (const name of stage.segments) {
    const path = join(postgres.walDirectory, name);
    const command = `${installation.walarc} push --server ${daemon.url} ${path}`;
    await timeCommand(command, stage.surroundings);
    const key = `clusters/main/wal/${name.slice(0, 8)}/${name.slice(8, 16)}/${name}`;
    objects.set(name, await workspace.writeFile(join(directory, name), await bucket.get(key)));
  }
  return objects;
}

/** All segments at once, with as many clients as pgBackRest has processes; each round anew. */
export async function benchS3Throughput(
  stage: S3Stage,
  { rounds }: { rounds: number },
): Promise<void> {
  const { installation, postgres } = stage.backlog;
  const daemons = [];
  for (const way of WAYS) daemons.push({ way, ...(await stage.daemon(way)) });
  const samples = new Map<string, number[]>();
  const note = (name: string, wallMs: number) => {
    samples.set(name, [...(samples.get(name) ?? []), wallMs]);
  };
  for (let round = 0; round < rounds; round += 1) {
    for (const { way, daemon } of daemons) {
      const options = `--server ${daemon.url} --cluster round${round}`;
      const { wallMs } = await timed(() => {
        return inParallel(stage.segments, CLIENTS, async (name) => {
          const path = join(postgres.walDirectory, name);
          await timeCommand(`${installation.walarc} push ${options} ${path}`, stage.surroundings);
        });
      });
      note(`walarc, ${TITLES[way]}, ${CLIENTS} clients`, wallMs);
    }
    const others = await stage.pgbackrest({ manner: "async", processes: CLIENTS });
    for (const { repository } of others) {
      const host = await stage.host();
      const { wallMs } = await timed(async () => {
        for (const name of stage.segments) {
          const push = `${repository.base} --pg1-path=${host} archive-push ${host}/pg_wal/${name}`;
          await timeCommand(push, { ...stage.surroundings, cwd: host });
        }
      });
      note(`pgbackrest zst async, TLS, ${CLIENTS} processes`, wallMs);
    }
  }
  const count = stage.segments.length;
  const rows = [...samples].map(([name, wallMs]) => ({
    name,
    figures: { "segments/s": (count / median(wallMs)) * 1000, seconds: median(wallMs) / 1000 },
  }));
  const title = `${count} segments at once into a bucket, medians of ${rounds}`;
  printTable(title, rows, { ratioTo: `walarc, TLS, ${CLIENTS} clients` });
}

/** A daemon's start on a bucket with so many objects, and on one with a single segment. */
export async function benchS3Start(
  stage: S3Stage,
  { objects }: { objects: number },
): Promise<void> {
  const { installation, postgres } = stage.backlog;
  const { bucket, daemon } = await stage.daemon("plain");
  const first = stage.segments[0]!;
  const path = join(postgres.walDirectory, first);
  await timeCommand(
    `${installation.walarc} push --server ${daemon.url} ${path}`,
    stage.surroundings,
  );
  const rows: Row[] = [];
  const measure = async (name: string) => {
    await daemon.kill();
    const before = stage.requestsOf(bucket).length;
    const { wallMs } = await timed(() => daemon.start());
    const requests = stage.requestsOf(bucket).length - before;
    rows.push({ name, figures: { seconds: wallMs / 1000, requests } });
  };
  await measure("1 object");
  const body = Buffer.alloc(100);
  const numbers = Array.from({ length: objects }, (_, index) => index);
  const { wallMs } = await timed(() => {
    return inParallel(numbers, 64, async (number) => bucket.put(keyAfter(first, number), body));
  });
  await measure(`${objects} objects more`);
  printTable(`start until ready (${objects} objects made in ${Math.round(wallMs / 1000)} s)`, rows);
}

/** Of a segment that comes somewhere after `first`, in logs of 256 segments of 16 MB. */
function keyAfter(first: string, number: number): string {
  const position = Number.parseInt(first.slice(8, 16), 16) * 256 + 256 + number;
  const log = hex8(Math.floor(position / 256));
  const timeline = first.slice(0, 8);
  return `clusters/main/wal/${timeline}/${log}/${timeline}${log}${hex8(position % 256)}`;
}

function hex8(value: number): string {
  return value.toString(16).toUpperCase().padStart(8, "0");
}
