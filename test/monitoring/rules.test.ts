import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const RULES = fileURLToPath(new URL("../../config/prometheus/walarc.rules.yml", import.meta.url));
const ALERTS = [...readFileSync(RULES, "utf8").matchAll(/- alert: (\w+)/g)].map(([, name]) => name);
const RUNBOOK = readFileSync(new URL("../../docs/alerts.md", import.meta.url), "utf8");

interface Case {
  readonly alert: string;
  /** Metric and its labels other than the instance, which is added. */
  readonly series: string;
  /** Between two samples; a minute if not given. */
  readonly every?: string;
  /** In promtool's notation: samples of what is sick, and of what is just well. */
  readonly sick: string;
  readonly well: string;
  /** What both need beside it. */
  readonly also?: Readonly<Record<string, string>>;
  /** The last minute without an alarm, and one with it. */
  readonly quietAt: string;
  readonly firesAt: string;
}

const MAIN = 'cluster="main"';
const push = (outcome: string) => `walarc_push_total{${MAIN},outcome="${outcome}"}`;
const fetched = (outcome: string) => `walarc_fetch_total{${MAIN},outcome="${outcome}"}`;
const TLS = 'walarc_tls_certificate_expiry_timestamp_seconds{certificate="server"}';
/** promtool's time begins at zero. */
const DAY = 86_400;

/** One for each alert. */
const CASES: readonly Case[] = [
  {
    alert: "WalarcDown",
    series: 'up{job="walarc"}',
    sick: "1 1 0x20",
    well: "1 1 0 1x20",
    quietAt: "3m",
    firesAt: "4m",
  },
  {
    alert: "WalarcNotReady",
    series: "walarc_ready",
    sick: "1 1 0x20",
    well: "1 1 0 1x20",
    quietAt: "3m",
    firesAt: "4m",
  },
  {
    alert: "WalarcRestarting",
    series: 'process_start_time_seconds{job="walarc"}',
    sick: "0 1 2 3 4x20",
    well: "0 1 2 3x20",
    quietAt: "3m",
    firesAt: "4m",
  },
  {
    alert: "WalarcDescriptorsRunOut",
    series: 'process_open_fds{job="walarc"}',
    sick: "81x20",
    well: "80x20",
    also: { 'process_max_fds{job="walarc"}': "100x20" },
    quietAt: "4m",
    firesAt: "5m",
  },
  {
    alert: "WalarcCertificateExpires",
    series: TLS,
    sick: `${14 * DAY + 60}x30`,
    well: `${14 * DAY + 3600}x30`,
    quietAt: "11m",
    firesAt: "12m",
  },
  {
    alert: "WalarcCertificateExpiresSoon",
    series: TLS,
    sick: `${2 * DAY + 60}x30`,
    well: `${20 * DAY}x30`,
    quietAt: "1m",
    firesAt: "2m",
  },
  {
    alert: "WalarcCertificateNotUsed",
    series: 'walarc_tls_certificate_current{certificate="server"}',
    sick: "1 0x30",
    well: "0x9 1x20",
    quietAt: "10m",
    firesAt: "11m",
  },
  {
    alert: "WalarcReloadFailed",
    series: "walarc_config_last_reload_successful",
    sick: "1 0x20",
    well: "1 0x3 1x20",
    quietAt: "5m",
    firesAt: "6m",
  },
  {
    alert: "WalarcArchiveLag",
    series: `walarc_last_archived_timestamp_seconds{${MAIN}}`,
    sick: "0x60",
    well: "0+60x60",
    quietAt: "20m",
    firesAt: "21m",
  },
  {
    alert: "WalarcPushesFail",
    series: push("failed"),
    sick: "0x3 1+1x30",
    well: "0x40",
    also: { [push("archived")]: "5x40" },
    quietAt: "8m",
    firesAt: "10m",
  },
  {
    alert: "WalarcConflict",
    series: push("conflict"),
    sick: "0x3 1x30",
    well: "1x40",
    quietAt: "3m",
    firesAt: "5m",
  },
  {
    alert: "WalarcGap",
    series: `walarc_gap_segments{${MAIN}}`,
    sick: "0 1x30",
    well: "0 1x7 0x20",
    quietAt: "10m",
    firesAt: "11m",
  },
  {
    alert: "WalarcPushesSlow",
    series: `walarc_push_duration_seconds_bucket{${MAIN},le="30"}`,
    sick: "0+10x60",
    well: "0+10x60",
    also: { [`walarc_push_duration_seconds_bucket{${MAIN},le="+Inf"}`]: "0+10x60" },
    quietAt: "14m",
    firesAt: "20m",
  },
  {
    alert: "WalarcCorrupt",
    series: fetched("corrupt"),
    sick: "0x3 1x30",
    well: "7x40",
    quietAt: "3m",
    firesAt: "5m",
  },
  {
    alert: "WalarcFetchesFail",
    series: fetched("gap"),
    sick: "0x3 1+1x30",
    well: "7x40",
    quietAt: "8m",
    firesAt: "10m",
  },
  {
    alert: "WalarcStandbyStale",
    series: `walarc_standby_stale{${MAIN},standby="s1"}`,
    sick: "0 1x30",
    well: "0 1x3 0x30",
    quietAt: "5m",
    firesAt: "6m",
  },
  {
    alert: "WalarcHoldForgotten",
    series: `walarc_horizon_held_by{${MAIN},kind="hold",name="h"}`,
    every: "1h",
    sick: "1x200",
    well: "1x100 _x100",
    quietAt: "167h",
    firesAt: "168h",
  },
  {
    alert: "WalarcRetentionStuck",
    series: `walarc_prune_age_seconds{${MAIN}}`,
    sick: "781x30",
    well: "780x30",
    also: { [`walarc_prune_interval_seconds{${MAIN}}`]: "60x30" },
    quietAt: "4m",
    firesAt: "5m",
  },
  {
    alert: "WalarcStoreFills",
    series: 'walarc_store_free_bytes{store="disk"}',
    sick: "290-0.25x300",
    well: "290-0.1x300",
    also: { 'walarc_store_size_bytes{store="disk"}': "1000x300" },
    quietAt: "59m",
    firesAt: "65m",
  },
  {
    alert: "WalarcStoreAlmostFull",
    series: 'walarc_store_free_bytes{store="disk"}',
    sick: "99x30",
    well: "100x30",
    also: { 'walarc_store_size_bytes{store="disk"}': "1000x30" },
    quietAt: "4m",
    firesAt: "5m",
  },
  {
    alert: "WalarcStoreFails",
    series:
      'walarc_store_operation_duration_seconds_count{store="disk",operation="publish",result="failed"}',
    sick: "0x3 1+1x30",
    well: "7x40",
    quietAt: "8m",
    firesAt: "10m",
  },
  {
    alert: "WalarcSpoolStuck",
    series: `walarc_spool_oldest_age_seconds{${MAIN}}`,
    sick: "0+60x30",
    well: "0+60x9 0x30",
    quietAt: "15m",
    firesAt: "16m",
  },
  {
    alert: "WalarcSpoolRejects",
    series: `walarc_spool_rejected_total{${MAIN},reason="conflict"}`,
    sick: "0x3 1x30",
    well: "7x40",
    quietAt: "3m",
    firesAt: "5m",
  },
  {
    alert: "WalarcSpoolAlmostFull",
    series: `walarc_spool_free_bytes{${MAIN}}`,
    sick: "9x30",
    well: "10x30",
    also: { [`walarc_spool_size_bytes{${MAIN}}`]: "100x30" },
    quietAt: "4m",
    firesAt: "5m",
  },
];

/** Where the one that is just well differs in something else than the series itself. */
const WELL_ALSO: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  WalarcPushesFail: { [push("failed")]: "0x3 1+1x30", [push("archived")]: "5+1x40" },
  WalarcPushesSlow: { [`walarc_push_duration_seconds_bucket{${MAIN},le="10"}`]: "0+10x60" },
};

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
    const alarms = `count by (alertname, instance) (ALERTS{alertname="${alert}",alertstate="firing"})`;
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
