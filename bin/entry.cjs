// Becomes dist/walarc.cjs as it stands, in the syntax of old Nodes: one that cannot run the client
// must still say so in statuses PostgreSQL understands. Left to itself it would end with 1, which
// means "there is no such file" to a recovery.
if (Number.parseInt(process.versions.node, 10) < 20) {
  const fs = require("fs");
  const [command, ...args] = process.argv.slice(2);
  const isRecovery = args.some((text) => /(^|\/)RECOVERY(XLOG|HISTORY)$/.test(text));
  const isStandby = fs.existsSync("standby.signal");
  const isPromotion =
    args.some((text) => /(^|\/)RECOVERYHISTORY$/.test(text)) &&
    fs.existsSync("postmaster.pid") &&
    !fs.existsSync("recovery.signal");
  const version = process.versions.node;
  fs.writeSync(
    2,
    `walarc: ${command || "start"}: usage: Node ${version} is too old\n` +
      "hint: install Node 20 or newer, or run npm ci\n",
  );
  process.exit(command === "fetch" && isRecovery && !isStandby && !isPromotion ? 200 : 2);
}
require("./client.cjs");
