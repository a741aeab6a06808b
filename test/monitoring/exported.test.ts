import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { request as encryptedRequest } from "node:https";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Service } from "../support/child.ts";
import { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import { installWalarc } from "../support/installation.ts";
import {
  freePort,
  makeCertificate,
  type Series,
  seriesCount,
  seriesOf,
} from "../support/metrics-page.ts";
import { fetchWal, pushWal } from "../support/wal-http.ts";
import { makeSegment, MIB } from "../support/wal-maker.ts";
import { Workspace } from "../support/workspace.ts";

const file = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const RULES = file("config/prometheus/walarc.rules.yml");
const DASHBOARD = JSON.parse(file("config/grafana/walarc.json")) as Dashboard;
const METRICS = file("docs/metrics.md");

interface Panel {
  readonly title: string;
  readonly type: string;
  readonly targets?: readonly { readonly expr: string }[];
}

interface Dashboard {
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { name: string; definition?: string }[] };
  readonly annotations: { readonly list: readonly { readonly expr: string }[] };
}

const segment = (number: number) =>
  makeSegment({ number, segmentSizeBytes: MIB, content: "mixed" });

let stack: AsyncDisposableStack;
let workspace: Workspace;
let daemon: WalarcDaemon;
let port: number;
let page: string;

/** A daemon that has done a little of everything, with TLS, so that it exports all there is. */
beforeAll(async () => {
  stack = new AsyncDisposableStack();
  workspace = stack.use(await Workspace.create());
  const certificate = await makeCertificate(workspace);
  const spool = await workspace.makeDirectory("spool");
  daemon = await WalarcDaemon.prepare({
    workspace,
    installation: await installWalarc(workspace),
    listen: "127.0.0.1:0",
    moreConfig: `[server.tls]
cert_file = "${certificate}.crt"
key_file = "${certificate}.key"

[[spool]]
path = "${spool}"
cluster = "main"
`,
  });
  stack.use(daemon);
  await daemon.start();
  port = Number(/:(\d+)"/.exec(/"listen":"[^"]*"/.exec(daemon.log())?.[0] ?? "")?.[1]);
  await doEverything();
  page = await exposition();
});

afterAll(async () => {
  await stack.disposeAsync();
});

describe("what the daemon exports", () => {
  test("is found right by promtool: names, units, help", () => {
    const { status, stdout, stderr } = spawnSync("promtool", ["check", "metrics"], {
      input: page,
      encoding: "utf8",
    });
    expect({ status, said: stdout + stderr }).toEqual({ status: 0, said: "" });
  });

  test("is explained in docs/metrics.md, with type and labels, and nothing else is", () => {
    const rows = [...METRICS.matchAll(/^\| `(walarc_\w+)` \| (\w+) \| ([\w, ]*) ?\| \S/gm)];
    const explained = new Map(rows.map(([, name, type]) => [name, type]));
    const types = [...page.matchAll(/^# TYPE (walarc_\w+) (\w+)$/gm)];
    const exported = new Map(types.map(([, name, type]) => [name, type]));
    expect(Object.fromEntries(explained)).toEqual(Object.fromEntries(exported));
    const series = seriesOf(page);
    for (const [, name = "", type, labels = ""] of rows) {
      const [first] = series.get(type === "histogram" ? `${name}_count` : name) ?? [];
      if (first === undefined) expect(name).toMatch(UNSEEN);
      else
        expect([name, Object.keys(first)]).toEqual([
          name,
          labels.trim().split(", ").filter(Boolean),
        ]);
    }
  });

  test("is what the alerts look at, to the last label", () => {
    const expressions = [...RULES.matchAll(/expr: (?:\|\n((?: {10}.*\n)+)|(.*)\n)/g)];
    expect(expressions.length).toBeGreaterThan(20);
    for (const [, block, line] of expressions) expectKnown(block ?? line ?? "", seriesOf(page));
  });

  test("is what the dashboard looks at, to the last label", () => {
    for (const expr of queriesOfDashboard()) expectKnown(expr, seriesOf(page));
    for (const { name, definition } of DASHBOARD.templating.list) {
      if (definition === undefined) continue;
      const [, metric = "", label = ""] = /^label_values\((\w+), (\w+)\)$/.exec(definition) ?? [];
      expect(label).toBe(name);
      // Prometheus itself adds where it came from.
      const [first] = seriesOf(page).get(metric) ?? [];
      expect(Object.keys({ ...first, instance: "" })).toContain(label);
    }
  });

  test("grows by no series from names that nobody may use", async () => {
    const before = seriesCount(await exposition());
    const token = { authorization: "Bearer walarc_nobody_knows_this_one" };
    for (let turn = 0; turn < 50; turn += 1) {
      const cluster = `flood-${turn}`;
      await overTcp("GET", `/v1/clusters/${cluster}/wal/${segment(1).name}`, token);
      await overTcp("PUT", `/v1/clusters/main/standbys/${cluster}`, token);
      await overTcp("GET", `/path-${turn}`, token);
      await fetchWal(segment(1).name, { socketPath: daemon.socketPath, cluster });
      const junk = { ...segment(1), bytes: Buffer.from(`junk ${turn}`) };
      await pushWal(junk, { socketPath: daemon.socketPath, cluster });
    }
    expect(seriesCount(await exposition())).toEqual(before);
  });

  test("has series for a hundred standbys of a cluster, however many report", async () => {
    for (let number = 0; number < 110; number += 1) await report(`pod-${number}`);
    const series = seriesOf(await exposition());
    expect(series.get("walarc_standby_stale")).toHaveLength(100);
    expect(series.get("walarc_standby_held_bytes")).toHaveLength(100);
    expect(series.get("walarc_horizon_held_by")?.length).toBeLessThanOrEqual(100);
    expect(page).toMatch(/^walarc_standbys\{cluster="main"\} 1$/m);
    expect(await exposition()).toMatch(/^walarc_standbys\{cluster="main"\} 111$/m);
  });
});

test("Prometheus itself scrapes it and answers every query of the dashboard", async () => {
  const config = {
    global: { scrape_interval: "1s", scrape_timeout: "1s" },
    scrape_configs: [
      {
        job_name: "walarc",
        scheme: "https",
        tls_config: { insecure_skip_verify: true },
        static_configs: [{ targets: [`127.0.0.1:${port}`] }],
      },
    ],
  };
  const path = await workspace.writeFile(workspace.path("prom.json"), JSON.stringify(config));
  const data = await workspace.makeDirectory("prometheus");
  const own = await freePort();
  const args = [
    `--config.file=${path}`,
    `--storage.tsdb.path=${data}`,
    `--web.listen-address=${own}`,
  ];
  const prometheus = new Service("/usr/bin/prometheus", args, {
    account: workspace.account,
    cwd: workspace.directory,
    env: {},
    name: "prometheus",
    logFile: workspace.path("prometheus.log"),
  });
  await using _end = { [Symbol.asyncDispose]: () => prometheus.killAll() };
  const query = async (expr: string) => {
    const answer = await fetch(`http://${own}/api/v1/query?query=${encodeURIComponent(expr)}`);
    const body = (await answer.json()) as { status: string; data?: { result: unknown[] } };
    return { status: body.status, found: body.data?.result.length ?? 0 };
  };
  const scraped = 'count_over_time(walarc_ready{job="walarc"}[1m]) >= 3';
  await eventually("it has scraped three times", async () => (await query(scraped)).found === 1);

  const empty: string[] = [];
  for (const expr of queriesOfDashboard()) {
    const { status, found } = await query(expr);
    expect({ expr, status }).toEqual({ expr, status: "success" });
    if (found === 0) empty.push(expr);
  }
  // What compares may rightly have nothing to show.
  expect(empty.filter((expr) => !/> 0|walarc_s3_/.test(expr))).toEqual([]);
});

/** Only a bucket has these. */
const UNSEEN = /^walarc_s3_/;

/** Each selector of the expression finds a series, and so does each label that is grouped by. */
function expectKnown(expr: string, series: Series): void {
  const selectors = [...expr.matchAll(/\b((?:walarc|process|nodejs)_\w+|up)(\{[^}]*\})?/g)];
  expect({ expr, selectors: selectors.length }).not.toEqual({ expr, selectors: 0 });
  const known = new Set(["instance", "le"]);
  for (const [, name = "", matchers = ""] of selectors) {
    if (name === "up" || UNSEEN.test(name)) continue;
    const found = series.get(name) ?? [];
    expect({ expr, name, isExported: found.length > 0 }).toEqual({ expr, name, isExported: true });
    for (const label of Object.keys(found[0] ?? {})) known.add(label);
    for (const [, label = "", operator, value = ""] of matchers.matchAll(/(\w+)(=~?)"([^"]*)"/g)) {
      if (label === "job" || label === "instance") continue;
      const values = new Set(found.map((one) => one[label]));
      expect({ expr, label, isThere: !values.has(undefined) }).toEqual({
        expr,
        label,
        isThere: true,
      });
      // Nothing of this daemon's has failed, which is the one result that cannot be had here.
      if (value === "failed" && label === "result") continue;
      for (const one of operator === "=~" ? value.split("|") : [value]) {
        if (one !== ".*") expect([...values]).toContain(one);
      }
    }
  }
  if (selectors.some(([, name = ""]) => UNSEEN.test(name))) return;
  for (const [, labels = ""] of expr.matchAll(/\bby \(([^)]*)\)/g)) {
    for (const label of labels.split(", ")) expect([...known]).toContain(label);
  }
}

function queriesOfDashboard(): string[] {
  const panels = DASHBOARD.panels.filter(({ type }) => type !== "row");
  expect(panels.length).toBeGreaterThan(20);
  const all = panels.flatMap(({ targets = [] }) => targets);
  return [...all, ...DASHBOARD.annotations.list].map(({ expr }) => {
    return expr.replaceAll(/\$(instance|cluster)\b/g, ".*").replaceAll("$__rate_interval", "1m");
  });
}

async function exposition(): Promise<string> {
  return (await daemon.get("/metrics")).body.toString();
}

async function doEverything(): Promise<void> {
  const { socketPath } = daemon;
  for (const number of [1, 2, 4]) {
    expect((await pushWal(segment(number), { socketPath })).status).toBe(201);
  }
  expect((await fetchWal(segment(1).name, { socketPath })).status).toBe(200);
  await report("s1");
  await send("PUT", "/v1/clusters/main/holds/h", { from: segment(1).name, until: null });
  await send("POST", "/v1/clusters/main/prune", {});
  await workspace.writeFile(workspace.path("spool", segment(5).name), segment(5).bytes);
  await eventually("the spool is drained, and looked at", async () => {
    const text = await exposition();
    const isDrained = /^walarc_push_total\{cluster="main",outcome="archived"\} 4$/m.test(text);
    return isDrained && text.includes("walarc_spool_free_bytes{") && text.includes('kind="hold"');
  });
}

async function report(standby: string): Promise<void> {
  const restartPoint = segment(1).name;
  await send("PUT", `/v1/clusters/main/standbys/${standby}`, { restartPoint });
}

/** Over the unix socket, where everybody may do everything. */
async function send(method: string, path: string, content: object): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const headers = { "content-type": "application/json" };
  const where = { socketPath: daemon.socketPath, method, path, headers, agent: false };
  const asked = request(where, (answer) => {
    answer.resume().once("end", () => resolve(answer.statusCode ?? 0));
  });
  asked.once("error", reject).end(JSON.stringify(content));
  expect(await promise).toBe(200);
}

function overTcp(method: string, path: string, headers: Record<string, string>): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const where = { host: "127.0.0.1", port, rejectUnauthorized: false, agent: false };
  const asked = encryptedRequest({ ...where, method, path, headers }, (answer) => {
    answer.resume().once("end", () => resolve(answer.statusCode ?? 0));
  });
  asked.once("error", reject).end();
  return promise;
}
