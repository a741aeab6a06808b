import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

interface LockedPackage {
  readonly version?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const { packages } = JSON.parse(
  readFileSync(new URL("../package-lock.json", import.meta.url), "utf8"),
) as { packages: Readonly<Record<string, LockedPackage>> };

test("npm ci finds every optional package in the lock file, other platforms' too", () => {
  // It refuses to install anything otherwise, and npm install does not add what was left out once.
  const missing = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter((name) => !isLocked(path, name)),
  );
  expect(missing).toEqual([]);
});

/** Nested below its dependent or at the top, where npm puts what nothing else contradicts. */
function isLocked(dependent: string, name: string): boolean {
  return [`${dependent}/node_modules/${name}`, `node_modules/${name}`].some(
    (path) => packages[path]?.version !== undefined,
  );
}
