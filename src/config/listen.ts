import { isIP } from "node:net";

/** A TCP address to listen on. */
export interface ListenAddress {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

const HOST_NAME = /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/;

/** `host:port` or `[IPv6]:port`. Without a host nothing listens: not to the world by accident. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const [, v6, name, digits] = /^(?:\[([^\]]+)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (digits === undefined || port > 65_535) return undefined;
  if (v6 !== undefined) return isIP(v6) === 6 ? { host: v6, port } : undefined;
  if (name === undefined || !HOST_NAME.test(name)) return undefined;
  // 127.1 or 1.2.3.400 would reach the resolver as host names and listen who knows where.
  if (/^[0-9.]+$/.test(name) && isIP(name) !== 4) return undefined;
  return { host: name, port };
}

/** Whether only this host can reach a listener on the address. */
export function isLoopbackHost(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}
