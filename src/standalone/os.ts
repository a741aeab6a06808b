/** Stands in for `node:os`, which only some calls need. */
export function hostname(): string {
  return process.getBuiltinModule("node:os").hostname();
}
