/** Where a server listens: a TCP address, or a unix socket that is never anybody else's. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmod, link, lstat, stat, unlink } from "node:fs/promises";
import type { Server } from "node:http";
import { type AddressInfo, connect, createServer, type ListenOptions } from "node:net";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { WalarcError } from "../errors.ts";

/** What `sun_path` holds on Linux, without its closing zero byte (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107;
/** Connections that wait while the event loop is busy; a burst of archivers is no attack. */
const BACKLOG = 511;
const PROBE_MS = 2000;
/** How long a dead socket may take to be replaced, by us or by somebody else. */
const TAKEOVER_MS = 5000;
const TURN_MS = 10;

/** Resolves with the address that is listened on; with port 0 the system chooses one. */
export async function listenOnTcp(
  server: Server,
  address: { host: string; port: number },
): Promise<{ host: string; port: number }> {
  await listen(server, { ...address, backlog: BACKLOG }, `${address.host}:${address.port}`);
  const bound = server.address() as AddressInfo;
  return { host: bound.address, port: bound.port };
}

/**
 * Listens on a unix socket with this mode. What stands at the path stays, unless it is the socket
 * of a server that is gone. Disposing the result takes the socket file away if it is still ours;
 * the server is closed by its owner.
 *
 * The socket is bound under a name of its own, gets its mode there and is then linked to its path:
 * so it is never wider than its mode, and never takes the place of another.
 */
export async function listenOnSocket(
  server: Server,
  options: { path: string; mode: number },
): Promise<AsyncDisposable> {
  const { path, mode } = options;
  await requireSafeDirectory(dirname(path));
  const ownPath = join(dirname(path), `.${randomBytes(4).toString("hex")}`);
  const longer = Math.max(Buffer.byteLength(path), Buffer.byteLength(ownPath));
  if (longer > SOCKET_PATH_BYTES_MAX) {
    throw new WalarcError("usage", `socket path "${path}" is too long`, {
      hint: `the system allows ${SOCKET_PATH_BYTES_MAX} bytes; choose a shorter directory`,
    });
  }

  await listenPrivately(server, ownPath);
  try {
    await chmod(ownPath, mode);
    await publish(ownPath, path);
    const { dev, ino } = await lstat(path);
    return { [Symbol.asyncDispose]: () => removeOwn(path, { dev, ino }) };
  } catch (error) {
    server.close();
    throw error;
  } finally {
    await unlink(ownPath).catch(ignoreMissing);
  }
}

/** Whoever can write in the directory can put their own socket there, and be sent the WAL. */
async function requireSafeDirectory(directory: string): Promise<void> {
  const found = await stat(directory).catch((error: unknown) => {
    throw new WalarcError("usage", `socket directory "${directory}" cannot be used`, {
      hint: `make it: install -d -m 0750 -o "$USER" ${directory}`,
      cause: error,
    });
  });
  if (!found.isDirectory()) throw new WalarcError("usage", `"${directory}" is not a directory`);
  if ((found.mode & 0o002) !== 0) {
    throw new WalarcError("usage", `socket directory "${directory}" can be written by everybody`, {
      hint: "choose a directory of its own, or take the right away with chmod o-w",
    });
  }
}

/** The bind happens within the call to `listen`, so the umask is back before anything else runs. */
async function listenPrivately(server: Server, path: string): Promise<void> {
  const umask = process.umask(0o177);
  const listening = listen(server, { path, backlog: BACKLOG }, path);
  process.umask(umask);
  await listening;
}

async function publish(ownPath: string, path: string): Promise<void> {
  const deadline = performance.now() + TAKEOVER_MS;
  while (performance.now() < deadline) {
    try {
      await link(ownPath, path);
      return;
    } catch (error) {
      if (!isCode(error, "EEXIST")) throw error;
    }
    using turn = await takeTurn(path);
    if (turn === undefined) await delay(TURN_MS);
    else await removeDead(path);
  }
  throw inUse(path);
}

/**
 * The right to remove what stands at the path, or `undefined` while somebody else has it. Between
 * finding a socket dead and removing it another server may put its own in that place, and that one
 * must not go. The turn is a name that the kernel frees when its holder dies, whatever the way
 * (an abstract socket, unix(7)).
 */
async function takeTurn(path: string): Promise<Disposable | undefined> {
  const { dev, ino } = await stat(dirname(path));
  const name = createHash("sha256").update(basename(path)).digest("hex").slice(0, 16);
  const turn = createServer((stranger) => stranger.destroy());
  turn.listen({ path: `\0walarc-${dev}-${ino}-${name}` });
  try {
    await once(turn, "listening");
  } catch (error) {
    if (isCode(error, "EADDRINUSE")) return undefined;
    throw error;
  }
  return { [Symbol.dispose]: () => void turn.close() };
}

/** Removes the socket of a server that is gone; throws when it is anything else. */
async function removeDead(path: string): Promise<void> {
  const found = await lstat(path).catch(ignoreMissing);
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new WalarcError("usage", `"${path}" exists and is not a socket`, {
      hint: "move it away, or choose another path",
    });
  }
  if (await isAlive(path)) throw inUse(path);
  await removeOwn(path, found);
}

/** Only a refused connection proves that nobody listens. */
async function isAlive(path: string): Promise<boolean> {
  const socket = connect({ path });
  const signal = AbortSignal.timeout(PROBE_MS);
  try {
    await once(socket, "connect", { signal });
    return true;
  } catch (error) {
    return !isCode(error, "ECONNREFUSED") && !isCode(error, "ENOENT");
  } finally {
    socket.destroy();
  }
}

async function removeOwn(path: string, own: { dev: number; ino: number }): Promise<void> {
  const found = await lstat(path).catch(ignoreMissing);
  if (found?.dev !== own.dev || found.ino !== own.ino) return;
  await unlink(path).catch(ignoreMissing);
}

async function listen(server: Server, options: ListenOptions, where: string): Promise<void> {
  server.listen(options);
  try {
    await once(server, "listening");
  } catch (error) {
    if (isCode(error, "EADDRINUSE")) throw inUse(where);
    throw new WalarcError("usage", `cannot listen on ${where}`, {
      hint: "look at the address and at the rights of this account",
      cause: error,
    });
  }
}

function inUse(where: string): WalarcError {
  return new WalarcError("usage", `another server listens on ${where}`, {
    hint: "is walarc running already?",
  });
}

/** The file is gone, which is what was wanted. */
function ignoreMissing(error: unknown): undefined {
  if (!isCode(error, "ENOENT")) throw error;
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
