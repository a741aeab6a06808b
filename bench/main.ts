/** `npm run bench [NAME…]`: all tools in one run, interleaved; figures are medians and ratios. */
import { Backlog } from "./backlog.ts";
import { benchDrain } from "./drain.ts";
import { benchReplay } from "./replay.ts";
import { benchRetention } from "./retention.ts";
import { benchScale } from "./scale.ts";
import { benchConcurrency, benchFetch, benchPush } from "./segments.ts";
import { benchSpool } from "./spool.ts";
import { Stage } from "./stage.ts";

/** Of drain and replay, which are one run of seconds each: how often. */
const ROUNDS = Number(process.env["WALARC_BENCH_ROUNDS"] ?? 3);
const DRAINED = Number(process.env["WALARC_BENCH_DRAINED"] ?? 144);
const REPLAYED = Number(process.env["WALARC_BENCH_REPLAYED"] ?? 200);
const SEGMENTS = Number(process.env["WALARC_BENCH_SEGMENTS"] ?? 24);

const wanted = process.argv.slice(2);
const isWanted = (name: string) => wanted.length === 0 || wanted.includes(name);

if (isWanted("segments")) {
  await using stage = await Stage.set({ segments: SEGMENTS });
  await benchPush(stage);
  await benchFetch(stage);
  await benchConcurrency(stage);
}
if (isWanted("drain") || isWanted("replay")) {
  const segments = Math.max(isWanted("drain") ? DRAINED : 0, isWanted("replay") ? REPLAYED : 0);
  await using backlog = await Backlog.make({ segments });
  if (isWanted("drain")) await benchDrain(backlog, { segments: DRAINED, rounds: ROUNDS });
  if (isWanted("replay")) await benchReplay(backlog, { rounds: ROUNDS });
}
if (isWanted("scale")) await benchScale();
if (isWanted("retention")) await benchRetention();
if (isWanted("spool")) await benchSpool();
