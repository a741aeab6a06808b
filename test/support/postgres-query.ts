import { Client } from "pg";

/** Asks the server that listens in `socketDirectory`, over a connection of its own. */
export async function queryPostgres(
  socketDirectory: string,
  sql: string,
  values: unknown[] = [],
): Promise<Record<string, unknown>[]> {
  const client = new Client({
    host: socketDirectory,
    port: 5432,
    user: "postgres",
    database: "postgres",
    connectionTimeoutMillis: 5000,
  });
  // A server that ends drops its connections: the query's own rejection tells.
  client.on("error", () => undefined);
  try {
    await client.connect();
    const result: { rows: Record<string, unknown>[] } = await client.query(sql, values);
    return result.rows;
  } finally {
    await client.end().catch(() => undefined);
  }
}
