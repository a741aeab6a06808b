import { randomUUID } from "node:crypto";
import { hostname } from "node:os";

/** For people to find the process by; it is part of a key. */
export function daemonName(): string {
  const host = hostname()
    .toLowerCase()
    .replace(/[^a-z0-9-]/g, "-")
    .slice(0, 40);
  return `d-${host}-${process.pid}-${randomUUID().slice(0, 8)}`;
}
