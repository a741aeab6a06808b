/** `npm run bench [NAME…]`: all tools in one run, interleaved; figures are medians and ratios. */
import { Backlog } from "./backlog.ts";
import { benchCommands } from "./commands.ts";
import { benchDrain } from "./drain.ts";
import { benchHostile } from "./hostile.ts";
import { benchMemory } from "./memory.ts";
import { benchReplay } from "./replay.ts";
import { benchRetention } from "./retention.ts";
import { benchS3, benchS3Start, benchS3Throughput } from "./s3.ts";
import { S3Stage } from "./s3-stage.ts";
import { benchScale } from "./scale.ts";
import { benchSegments } from "./segments.ts";
import { benchSoak } from "./soak.ts";
import { benchSpool } from "./spool.ts";
import { Stage } from "./stage.ts";

/** Of drain and replay, which are one run of seconds each: how often. */
const ROUNDS = Number(process.env["WALARC_BENCH_ROUNDS"] ?? 3);
const DRAINED = Number(process.env["WALARC_BENCH_DRAINED"] ?? 144);
const REPLAYED = Number(process.env["WALARC_BENCH_REPLAYED"] ?? 200);
const CROWD = Number(process.env["WALARC_BENCH_CONNECTIONS"] ?? 2000);
const SEGMENTS = Number(process.env["WALARC_BENCH_SEGMENTS"] ?? 24);

/** In the bucket that a daemon starts on. */
const OBJECTS = Number(process.env["WALARC_BENCH_OBJECTS"] ?? 100_000);

const wanted = process.argv.slice(2);
const isWanted = (name: string) => wanted.length === 0 || wanted.includes(name);

const needs = {
  drain: DRAINED,
  replay: REPLAYED,
  commands: SEGMENTS,
  segments: SEGMENTS,
  s3: SEGMENTS,
};
const needed = Object.entries(needs).filter(([name]) => isWanted(name));
if (needed.length > 0) {
  const segments = Math.max(...needed.map(([, count]) => count));
  await using backlog = await Backlog.make({ segments });
  if (isWanted("segments")) {
    await using stage = await Stage.set(backlog, { segments: SEGMENTS });
    await benchSegments(stage);
  }
  if (isWanted("drain")) await benchDrain(backlog, { segments: DRAINED, rounds: ROUNDS });
  if (isWanted("commands")) await benchCommands(backlog, { segments: SEGMENTS });
  if (isWanted("s3")) {
    await using stage = await S3Stage.set(backlog, { segments: SEGMENTS });
    await benchS3(stage);
    await benchS3Throughput(stage, { rounds: ROUNDS });
    await benchS3Start(stage, { objects: OBJECTS });
  }
  if (isWanted("replay")) await benchReplay(backlog, { rounds: ROUNDS });
}
if (isWanted("memory")) await benchMemory();
if (isWanted("hostile")) {
  await benchHostile({ connections: CROWD, segments: SEGMENTS, rounds: ROUNDS });
}
if (isWanted("scale")) await benchScale();
if (isWanted("retention")) await benchRetention();
if (isWanted("spool")) await benchSpool();
// Ten minutes: only when it is asked for.
if (wanted.includes("soak")) await benchSoak();
