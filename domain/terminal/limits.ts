/** Bounds of terminals that are configured, and those that are not. */

/** A session whose time is over counts as lost when its agent has not said so after this long, milliseconds. */
export const TERMINAL_OVERDUE_MS = 60_000;

export interface TerminalLimits {
  /** Ends without input for this long. */
  idleMs: number;
  /** Ends without a reader for this long. */
  detachedMs: number;
  /** Ends after this long in any case. */
  maxMs: number;
  /** Are new sessions recorded? */
  isRecorded: boolean;
  /** Is what is typed recorded and shown in the log as well? Passwords are typed too. */
  recordsInput: boolean;
}
