import { WalarcError } from "../errors.ts";

/**
 * Writes to standard output and waits until it is taken. When nobody reads any more (`| head`), the
 * command has said enough and ends with 0. Rejects with `local` when it cannot be written.
 */
export async function printOutput(text: string): Promise<void> {
  const { stdout } = process;
  try {
    await new Promise<void>((resolve, reject) => {
      stdout.once("error", reject);
      stdout.write(text, (error) => {
        if (error) return;
        stdout.off("error", reject);
        resolve();
      });
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EPIPE") process.exit(0);
    const why = error instanceof Error ? error.message : String(error);
    throw new WalarcError("local", `cannot write standard output: ${why}`, { cause: error });
  }
}
