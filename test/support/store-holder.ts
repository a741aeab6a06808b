import { once } from "node:events";
import { DiskStore } from "../../src/store/disk.ts";

/**
 * A process that opens the store of its first argument, says so, and holds it until its standard
 * input ends or somebody kills it.
 */
await using _store = await DiskStore.open(process.argv[2] ?? "");
process.stdout.write("open\n");
process.stdin.resume();
await once(process.stdin, "end");
