/** Where the objects of a cluster stand in the store (contract, layout version 1). */
import { historyName, parseWalName, type WalName } from "../wal/name.ts";

const CLUSTER_NAME = /^[a-z0-9][a-z0-9_-]{0,62}$/;

export function isClusterName(text: string): boolean {
  return CLUSTER_NAME.test(text);
}

export function clusterPrefix(cluster: string): string {
  return `clusters/${cluster}/`;
}

export function walPrefix(cluster: string): string {
  return `clusters/${cluster}/wal/`;
}

export function walKey(cluster: string, name: WalName): string {
  const timeline = name.text.slice(0, 8);
  if (name.kind === "history") return `${walPrefix(cluster)}${timeline}/${name.text}`;
  return `${walPrefix(cluster)}${timeline}/${name.text.slice(8, 16)}/${name.text}`;
}

/** What all keys of a timeline begin with. */
export function timelinePrefix(cluster: string, timeline: number): string {
  return `${walPrefix(cluster)}${historyName(timeline).slice(0, 8)}/`;
}

/** After all keys of a timeline, and before those of the next one. */
export function timelineEnd(cluster: string, timeline: number): string {
  return `${timelinePrefix(cluster, timeline)}~`;
}

/** The WAL file that stands at a key, or `undefined` for a key that walarc would not have made. */
export function walNameAt(cluster: string, key: string): WalName | undefined {
  const name = parseWalName(key.slice(key.lastIndexOf("/") + 1));
  return name !== undefined && walKey(cluster, name) === key ? name : undefined;
}

/** Where a second content of a name is kept for a person to look at. */
export function conflictKey(cluster: string, name: WalName, sha256: string): string {
  return `${clusterPrefix(cluster)}conflicts/${name.text}.${sha256}`;
}

export function bindingKey(cluster: string): string {
  return `${clusterPrefix(cluster)}cluster.json`;
}

/** Where daemons that share a store agree on what the first segment tells of a bound cluster. */
export function formatKey(cluster: string): string {
  return `${clusterPrefix(cluster)}format.json`;
}
