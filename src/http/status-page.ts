/** The page for a person who wants to know whether all is well. No scripts, nothing loaded. */
import { createHash } from "node:crypto";
import type { ClusterStatus } from "../archive/status.ts";
import type { ClusterTrouble } from "./cluster-routes.ts";

const STYLE = `
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .1rem 1.5rem .1rem 0; }
th { font-weight: 500; } code { font-size: .9em; } .bad { color: #c00; font-weight: 600; }
@media (prefers-color-scheme: dark) { .bad { color: #f77; } }
`;

const STYLE_HASH = createHash("sha256").update(STYLE).digest("base64");

/** The page's content security policy: its one style, and nothing else whatsoever. */
export const STATUS_PAGE_POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${STYLE_HASH}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

export function statusPage(options: {
  clusters: readonly (ClusterStatus | ClusterTrouble)[];
  /** Why nothing can be archived; none where it can. */
  reasons: readonly string[];
}): string {
  const { clusters, reasons } = options;
  const state =
    reasons.length === 0
      ? html`<p>Ready to archive.</p>`
      : html`<p class="bad">Not ready: ${reasons.join("; ")}</p>`;
  const sections = clusters.map((status) =>
    "problem" in status ? troubleSection(status) : clusterSection(status),
  );
  const content =
    sections.length > 0 ? sections : [html`<p>No cluster has archived anything yet.</p>`];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>walarc</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>${STYLE}</style></head>
<body><h1>walarc</h1>
${state.text}
${content.map(({ text }) => text).join("\n")}
</body></html>
`;
}

function troubleSection({ cluster, problem }: ClusterTrouble): Html {
  const { code, detail } = problem;
  return html`<section><h2>${cluster}</h2><p class="bad">${code}: ${detail}</p></section>`;
}

function clusterSection(status: ClusterStatus): Html {
  const { latest, stored, damaged, conflicts, explanation } = status;
  return html`<section><h2>${status.cluster}</h2><table>
${row("System identifier", status.systemIdentifier ?? "not known yet")}
${row("Latest segment", latest === null ? "none" : `${latest.name} ${latest.archivedAt ?? ""}`)}
${row("Archived", `${stored.files} files, ${formatBytes(stored.bytes)} stored`)}
${status.timelines.map(timelineRow)}
${damaged.length === 0 ? [] : badRow("Damaged", damaged.slice(0, 20).join(" "))}
${(status.spools ?? []).map(spoolRow)}
${conflicts === 0 ? [] : badRow("Conflicts", `${conflicts} since the start`)}
${row("Retention", explanation)}
</table></section>`;
}

function timelineRow({ timeline, ranges, gaps }: ClusterStatus["timelines"][number]): Html {
  const segments = ranges.reduce((sum, range) => sum + range.segments, 0);
  const missing = gaps.reduce((sum, gap) => sum + gap.segments, 0);
  const first = ranges[0]?.first;
  const last = ranges.at(-1)?.last;
  const extent = first === undefined ? "no segments" : `${segments} segments, ${first} to ${last}`;
  const title = `Timeline ${timeline}`;
  return missing === 0 ? row(title, extent) : badRow(title, `${extent}; ${missing} missing`);
}

function spoolRow(spool: NonNullable<ClusterStatus["spools"]>[number]): Html {
  const { path, files, oldestAgeSeconds, problem, incomplete, rejected } = spool;
  const age = files === 0 ? "" : `, the oldest for ${oldestAgeSeconds} s`;
  const faults = [
    ...(problem === null ? [] : [problem]),
    ...(incomplete.length === 0 ? [] : [`${incomplete.length} incomplete`]),
    ...(rejected === 0 ? [] : [`${rejected} rejected`]),
  ];
  const text = [`${path}: ${files} files waiting${age}`, ...faults].join("; ");
  return faults.length === 0 ? row("Spool", text) : badRow("Spool", text);
}

function row(title: string, value: string): Html {
  return html`<tr><th>${title}</th><td>${value}</td></tr>`;
}

function badRow(title: string, value: string): Html {
  return html`<tr><th>${title}</th><td class="bad">${value}</td></tr>`;
}

function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Markup, as opposed to text that might look like it. */
interface Html {
  readonly text: string;
}

/** Markup from a template; whatever text is put into it stays text. */
function html(parts: TemplateStringsArray, ...values: (string | Html | readonly Html[])[]): Html {
  const text = parts.reduce((before, part, index) => before + insert(values[index - 1]) + part);
  return { text };
}

function insert(value: string | Html | readonly Html[] | undefined): string {
  if (value === undefined) return "";
  if (typeof value === "string") return escape(value);
  return "text" in value ? value.text : value.map(({ text }) => text).join("\n");
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
