declare const WALARC_VERSION: string | undefined;

/** From package.json, put in by the build; a program run from its sources has none. */
export const VERSION: string = typeof WALARC_VERSION === "string" ? WALARC_VERSION : "0.0.0-source";
