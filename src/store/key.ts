const KEY =
  /^clusters\/([a-z0-9][a-z0-9_-]{0,62})\/(?!.*(?:\/|^)\.)[A-Za-z0-9._-]+(?:\/[A-Za-z0-9._-]+)*$/;

/** The cluster that a key belongs to. Keys are made from parsed names: any other is a bug. */
export function clusterOfKey(key: string): string {
  const cluster = KEY.exec(key)?.[1];
  if (cluster === undefined) throw new Error(`not a key: "${key}"`);
  return cluster;
}

export function isClusterName(name: string): boolean {
  return /^[a-z0-9][a-z0-9_-]{0,62}$/.test(name);
}

/**
 * The cluster that all keys with the prefix belong to, or `undefined` when there may be several.
 */
export function clusterOfPrefix(prefix: string): string | undefined {
  return /^clusters\/([^/]+)\//.exec(prefix)?.[1];
}
