/** Times that every workflow which waits for rows keeps to. */

/** Backstop of a lost `batchFinished`: the first look at the rows, doubling up to the last. */
export const FIRST_BACKSTOP_MS = 5 * 60_000;
export const MAX_BACKSTOP_MS = 60 * 60_000;
/** Shortest wait that an activity's answer can ask for: clocks differ, and a timer that fires too early must not spin. */
export const MIN_WAIT_MS = 1_000;
