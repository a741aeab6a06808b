import { join } from "node:path";
import { DiskStore } from "../../src/store/disk.ts";
import { LanedStore } from "../../src/store/lanes.ts";
import { ObservedStore } from "../../src/store/observed.ts";
import { SimulatedFileSystem } from "../support/simulated-file-system.ts";
import { Workspace } from "../support/workspace.ts";
import { type OpenStore, storePromises } from "./contract.ts";

const onDisk: OpenStore = async (stack) => {
  const workspace = stack.use(await Workspace.create());
  return DiskStore.open(join(workspace.directory, "store"));
};

storePromises("a store on a disk", onDisk);
storePromises("a store on a simulated disk", () => {
  return DiskStore.open("/store", { fileSystem: new SimulatedFileSystem() });
});
storePromises("a store with lanes", async (stack) => new LanedStore(await onDisk(stack)));
storePromises("a store that is observed", async (stack) => {
  return new ObservedStore(await onDisk(stack), () => {});
});
