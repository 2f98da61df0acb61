/** The levels of the log. */

/** From the most to the least important. */
export const logLevels = ["error", "warn", "info", "debug", "trace"] as const;
/** One of {@link logLevels}. */
export type LogLevel = (typeof logLevels)[number];
