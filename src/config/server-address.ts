import { WalarcError } from "../errors.ts";

/** Where a client command finds the daemon. */
export type ServerAddress =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number; readonly tls: boolean };

/** What `sun_path` holds on Linux, without its closing zero byte (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107;

const HINT = "write unix:/path, http://HOST:PORT or https://HOST:PORT";

/**
 * The address in `unix:/path`, `http://host:port` or `https://host:port`; a URL without a port has
 * its scheme's usual one. `source` names where the text came from, for the message.
 */
export function requireServerAddress(text: string, source: string): ServerAddress {
  const refuse = (why: string, hint: string = HINT) =>
    new WalarcError("usage", `${source} "${text}" ${why}`, { hint });

  if (text.startsWith("unix:")) {
    // unix:///run/x is the same place, spelled as a URL with an empty host.
    const path = text.slice(text.startsWith("unix:///") ? "unix://".length : "unix:".length);
    if (!path.startsWith("/") || path.startsWith("//")) {
      throw refuse("is not an absolute socket path");
    }
    if (path.includes("\0")) throw refuse("is not a path");
    if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) {
      throw refuse(`is longer than a socket path may be (${SOCKET_PATH_BYTES_MAX} bytes)`);
    }
    return { kind: "unix", path };
  }

  const url = /^https?:\/\/[^\s]+$/i.test(text) ? URL.parse(text) : null;
  if (url === null) throw refuse("is not a server URL");
  if (url.username !== "" || url.password !== "") {
    // Not quoted: it holds a secret.
    throw new WalarcError("usage", `${source} holds a user name or password`, {
      hint: "put the token into a file and name it with --token-file",
    });
  }
  if (url.pathname !== "/" || url.search !== "" || url.hash !== "") {
    throw refuse("has more than a host and a port", `use ${url.protocol}//${url.host}`);
  }
  const tls = url.protocol === "https:";
  const port = url.port === "" ? (tls ? 443 : 80) : Number(url.port);
  if (port === 0) throw refuse("has port 0");
  return { kind: "tcp", host: url.hostname.replace(/^\[(.*)\]$/, "$1"), port, tls };
}
