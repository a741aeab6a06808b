/** Stands in for `node:path`: the same results, of which a test makes sure. */

/** The last part of a path, whatever slashes follow it. */
export function basename(path: string): string {
  const end = endWithoutSlashes(path, path.length);
  return path.slice(path.lastIndexOf("/", end - 1) + 1, end);
}

/** What stands before the last part. Of several slashes Node takes one away. */
export function dirname(path: string): string {
  const end = endWithoutSlashes(path, path.length);
  const slash = end === 0 ? 0 : path.lastIndexOf("/", end - 1);
  const isAbsolute = path.startsWith("/");
  if (slash < 1) return isAbsolute ? "/" : ".";
  return isAbsolute && slash === 1 ? "//" : path.slice(0, slash);
}

/** Joins and normalizes. */
export function join(...parts: readonly string[]): string {
  const joined = parts.filter((part) => part !== "").join("/");
  if (joined === "") return ".";
  const isAbsolute = joined.startsWith("/");
  const kept: string[] = [];
  for (const part of joined.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") kept.push(part);
    else if (kept.length > 0 && kept.at(-1) !== "..") kept.pop();
    else if (!isAbsolute) kept.push(part);
  }
  const end = joined.endsWith("/") && kept.length > 0 ? "/" : "";
  const path = kept.join("/");
  if (path === "" && !isAbsolute) return joined.endsWith("/") ? "./" : ".";
  return `${isAbsolute ? "/" : ""}${path}${end}`;
}

function endWithoutSlashes(path: string, from: number): number {
  let end = from;
  while (end > 0 && path[end - 1] === "/") end -= 1;
  return end;
}
