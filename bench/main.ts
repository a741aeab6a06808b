/** `npm run bench [NAME…]`: all tools in one run, interleaved; figures are medians and ratios. */
import { benchRetention } from "./retention.ts";
import { benchScale } from "./scale.ts";
import { benchConcurrency, benchFetch, benchPush } from "./segments.ts";
import { benchSpool } from "./spool.ts";
import { Stage } from "./stage.ts";

const SEGMENTS = Number(process.env["WALARC_BENCH_SEGMENTS"] ?? 24);

const wanted = process.argv.slice(2);
const isWanted = (name: string) => wanted.length === 0 || wanted.includes(name);

if (isWanted("segments")) {
  await using stage = await Stage.set({ segments: SEGMENTS });
  await benchPush(stage);
  await benchFetch(stage);
  await benchConcurrency(stage);
}
if (isWanted("scale")) await benchScale();
if (isWanted("retention")) await benchRetention();
if (isWanted("spool")) await benchSpool();
