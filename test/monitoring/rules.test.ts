import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CASES, WELL_ALSO } from "./alert-cases.ts";

const RULES = fileURLToPath(new URL("../../config/prometheus/walarc.rules.yml", import.meta.url));
const ALERTS = [...readFileSync(RULES, "utf8").matchAll(/- alert: (\w+)/g)].map(([, name]) => name);
const RUNBOOK = readFileSync(new URL("../../docs/alerts.md", import.meta.url), "utf8");

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "walarc-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

test("promtool finds nothing wrong with rules and scrape configuration", () => {
  const config = fileURLToPath(new URL("../../config/prometheus/prometheus.yml", import.meta.url));
  expect(execFileSync("promtool", ["check", "rules", RULES], { encoding: "utf8" })).toContain(
    `SUCCESS: ${ALERTS.length} rules found`,
  );
  execFileSync("promtool", ["check", "config", config]);
});

test("each alert has a case here, and a section that says what to do", () => {
  expect(CASES.map(({ alert }) => alert)).toEqual(expect.arrayContaining(ALERTS));
  expect(CASES).toHaveLength(ALERTS.length);
  const rules = readFileSync(RULES, "utf8");
  const anchors = [...rules.matchAll(/runbook: docs\/alerts\.md#(\w+)/g)].map(
    ([, anchor]) => anchor,
  );
  expect(anchors).toHaveLength(ALERTS.length);
  const headings = [...RUNBOOK.matchAll(/^## (\w+)$/gm)].map(([, heading]) => heading);
  for (const anchor of anchors) expect(headings.map((one) => one?.toLowerCase())).toContain(anchor);
  for (const alert of ALERTS) expect(RUNBOOK).toMatch(new RegExp(`\\b${alert}\\b`));
});

describe("an alarm comes when it should, and for nobody else", () => {
  test.each(CASES.map((found) => [found.alert, found] as const))("%s", (alert, found) => {
    const { series, every = "1m", sick, well, also = {}, quietAt, firesAt } = found;
    const given = [
      ...inputs({ ...also, [series]: sick }, "sick"),
      ...inputs({ ...also, [series]: well, ...WELL_ALSO[alert] }, "well"),
    ];
    const firing = `ALERTS{alertname="${alert}",alertstate="firing"}`;
    const alarms = `count by (alertname, instance) (${firing})`;
    const fired = { labels: `{alertname="${alert}", instance="sick"}`, value: 1 };
    const content = {
      rule_files: [RULES],
      evaluation_interval: every,
      tests: [
        {
          interval: every,
          input_series: given,
          promql_expr_test: [
            { expr: alarms, eval_time: quietAt, exp_samples: [] },
            { expr: alarms, eval_time: firesAt, exp_samples: [fired] },
          ],
        },
      ],
    };
    const file = join(directory, `${alert}.json`);
    writeFileSync(file, JSON.stringify(content));
    const { status, stdout, stderr } = spawnSync("promtool", ["test", "rules", file], {
      encoding: "utf8",
    });
    expect({ status, said: status === 0 ? "" : stdout + stderr }).toEqual({ status: 0, said: "" });
  });
});

function inputs(all: Readonly<Record<string, string>>, instance: string): object[] {
  return Object.entries(all).map(([series, values]) => {
    const label = `instance="${instance}"`;
    const [name = "", labels = ""] = series.split(/[{}]/);
    return { series: `${name}{${[labels, label].filter(Boolean).join(",")}}`, values };
  });
}
