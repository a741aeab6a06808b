import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { isClaimantName } from "../config/units.ts";
import { WalarcError } from "../errors.ts";
import { requireWalName } from "../wal/name.ts";
import { identityHeader } from "./identity.ts";
import { parseCommandLine, resolveClientOptions } from "./options.ts";
import { order } from "./order.ts";
import { printError, printable, reportFailure } from "./report.ts";
import { isStandbyHere } from "./setting.ts";

/**
 * `walarc cleanup %r`, the archive_cleanup_command: reports the restart point of this standby and
 * removes nothing itself. PostgreSQL runs it in every archive recovery, also in that of a copy
 * restored with a standby's configuration, which must not speak in the standby's name. So only a
 * server that is a standby reports. Resolves to the exit status, which is never above 125.
 */
export async function cleanupCommand(args: readonly string[]): Promise<number> {
  let what = "cleanup";
  try {
    const line = parseCommandLine(args, {
      command: "cleanup",
      positionals: ["RESTART_FILE"],
      flags: { standby: "string" },
    });
    if (line.switches.has("help")) throw new WalarcError("usage", "--help stands alone");
    const [restartPoint = ""] = line.positionals;
    what = `cleanup ${restartPoint}`;
    const standby = line.values["standby"] ?? undefined;
    if (!isStandbyHere()) {
      const why = "nothing was reported: this server is no standby (it has no standby.signal)";
      printError(`walarc: ${printable(what)}: ${why}\n`);
      return 0;
    }
    const options = await resolveClientOptions(line);
    if (!/^0{24}$/.test(restartPoint)) requireWalName(restartPoint);
    await order(options, {
      method: "PUT",
      path: `/v1/clusters/${options.cluster}/standbys/${requireName(standby ?? ownName())}`,
      headers: identityHeader(),
      content: { restartPoint },
    });
    return 0;
  } catch (error) {
    return reportFailure(what, error);
  }
}

function requireName(name: string): string {
  if (isClaimantName(name)) return name;
  throw new WalarcError("usage", `"${name}" is no name of a standby`, {
    hint: "give it one of a-z, 0-9, dot, _ and - with --standby",
  });
}

/** Of this server on this host: names of hosts know no upper case. */
function ownName(): string {
  return `${hostname().toLowerCase()}-${portOf(pidFile())}`;
}

function pidFile(): string {
  try {
    return readFileSync("postmaster.pid", "utf8");
  } catch (error) {
    throw new WalarcError("usage", "the standby has no name: there is no postmaster.pid here", {
      hint: "name it with --standby",
      cause: error,
    });
  }
}

/** The fourth line (LOCK_FILE_LINE_PORT in pidfile.h). */
function portOf(text: string): string {
  const port = text.split("\n")[3]?.trim() ?? "";
  if (/^\d{1,5}$/.test(port)) return port;
  throw new WalarcError("usage", "the standby has no name: postmaster.pid tells no port", {
    hint: "name it with --standby",
  });
}
