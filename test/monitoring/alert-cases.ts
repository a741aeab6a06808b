/** What an alert is tried with. */
export interface Case {
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
export const CASES: readonly Case[] = [
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
    series: 'walarc_store_operation_duration_seconds_count{operation="publish",result="failed"}',
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
export const WELL_ALSO: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  WalarcPushesFail: { [push("failed")]: "0x3 1+1x30", [push("archived")]: "5+1x40" },
  WalarcPushesSlow: { [`walarc_push_duration_seconds_bucket{${MAIN},le="10"}`]: "0+10x60" },
};
