/** Holds idle and slow connections to a daemon until it is killed: `crowd.ts URL CONNECTIONS`. */
import { Flood } from "../test/support/flood.ts";

const [, , url = "", connections = "0"] = process.argv;
const { hostname: host, port } = new URL(url);
await Flood.open({ host, port: Number(port) }, { connections: Number(connections) });
process.send?.("held");
