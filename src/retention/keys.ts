/** Where a cluster's claims stand in the store (contract, layout version 1). */
import { WalarcError } from "../errors.ts";

/** Lower case: host names know no other, and some file systems neither. */
const NAME = /^[a-z0-9][a-z0-9._-]{0,99}$/;
const SUFFIX = ".json";

export function standbysPrefix(cluster: string): string {
  return `clusters/${cluster}/standbys/`;
}

export function holdsPrefix(cluster: string): string {
  return `clusters/${cluster}/holds/`;
}

/** Who of several daemons may remove WAL. */
export function leasePrefix(cluster: string): string {
  return `clusters/${cluster}/lease/`;
}

/** How long the archive has been served, and when what arrived. */
export function serviceKey(cluster: string): string {
  return `clusters/${cluster}/service.json`;
}

/** The same by daemon, where there are several. */
export function servicesPrefix(cluster: string): string {
  return `clusters/${cluster}/service/`;
}

/** Whether the text can name a standby or a hold. */
export function isClaimantName(text: string): boolean {
  return NAME.test(text);
}

/** Throws `usage` unless the text can name a `kind`. */
export function requireClaimantName(kind: "standby" | "hold", text: string): void {
  if (isClaimantName(text)) return;
  const shown = JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
  throw new WalarcError("usage", `${shown} is no name of a ${kind}`, {
    hint: "a name is 1 to 100 of a-z, 0-9, dot, _ and -, and begins with a letter or digit",
  });
}

export function stateKey(prefix: string, name: string): string {
  return prefix + name + SUFFIX;
}

/** The name whose state stands at a key, or `undefined` where walarc would have put none. */
export function nameAt(prefix: string, key: string): string | undefined {
  const name = key.slice(prefix.length, -SUFFIX.length);
  return isClaimantName(name) && stateKey(prefix, name) === key ? name : undefined;
}

/** The cluster that a state's key belongs to. */
export function clusterAt(key: string): string {
  return key.split("/")[1] ?? "";
}
