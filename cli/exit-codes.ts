/** What the exit code of `steelthread` says. */
export const exitCodes = {
  ok: 0,
  /** It was tried and did not work; the message says what. */
  failed: 1,
  /** The command line or the configuration is wrong; nothing was tried. */
  usage: 2,
  /** Ended by Ctrl-C (128 + SIGINT). */
  interrupted: 130,
  /** Nobody reads its output any more (128 + SIGPIPE). */
  notRead: 141,
} as const;

/** Shown at the end of `--help`. */
export const exitCodesHelp = `
Exit codes:
  ${exitCodes.ok}    done
  ${exitCodes.failed}    it was tried and failed; the message says what
  ${exitCodes.usage}    wrong command line or configuration; nothing was tried
  ${exitCodes.interrupted}  interrupted
  ${exitCodes.notRead}  nobody reads the output any more
`;

/** An expected failure: the message is for the person at the console, without a stack. */
export class CommandError extends Error {
  readonly exitCode: number;

  constructor(message: string, options: { exitCode?: number; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.name = 'CommandError';
    this.exitCode = options.exitCode ?? exitCodes.failed;
  }
}
