import { WalarcError } from "../errors.ts";

/** Where a client command finds the daemon. */
export type ServerAddress =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number; readonly tls: boolean };

/** What `sun_path` holds on Linux, without its closing zero byte (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107;

/**
 * The address in `unix:/path`, `http://host:port` or `https://host:port`, or else what is wrong
 * with the text. A URL without a port has its scheme's usual one.
 */
export function parseServerAddress(text: string): ServerAddress | string {
  if (text.startsWith("unix:")) return parseSocket(text);

  const url = /^https?:\/\/[^\s]+$/i.test(text) ? URL.parse(text) : null;
  if (url === null) return "is not a server URL";
  if (url.username !== "" || url.password !== "") return "holds a user name or password";
  if (url.pathname !== "/" || url.search !== "" || url.hash !== "") {
    return "has more than a host and a port";
  }
  const tls = url.protocol === "https:";
  const port = url.port === "" ? (tls ? 443 : 80) : Number(url.port);
  if (port === 0) return "has port 0";
  return { kind: "tcp", host: url.hostname.replace(/^\[(.*)\]$/, "$1"), port, tls };
}

/** The address, or `usage`; `source` names where the text came from. */
export function requireServerAddress(text: string, source: string): ServerAddress {
  const address = parseServerAddress(text);
  if (typeof address !== "string") return address;
  // What may hold a password is not quoted.
  const quoted = text.includes("@") ? "" : ` "${text}"`;
  throw new WalarcError("usage", `${source}${quoted} ${address}`, {
    hint: text.includes("@")
      ? "put the token into a file and name it with --token-file"
      : "write unix:/path, http://HOST:PORT or https://HOST:PORT",
  });
}

function parseSocket(text: string): ServerAddress | string {
  // unix:///run/x is the same place, spelled as a URL with an empty host.
  const path = text.slice(text.startsWith("unix:///") ? "unix://".length : "unix:".length);
  if (!/^\/(?!\/)[^\p{Cc}]+$/u.test(path)) return "is not an absolute socket path";
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) {
    return `is longer than a socket path may be (${SOCKET_PATH_BYTES_MAX} bytes)`;
  }
  return { kind: "unix", path };
}
