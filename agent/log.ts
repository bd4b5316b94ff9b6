/**
 * The agent's log: one JSON line per event on standard error. Never command text, output or secrets.
 */

export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export interface AgentLog {
  /** Shown only with `--debug`. */
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
}

/** Log of one agent process. `write` takes one line with its line feed; default is standard error. */
export function createAgentLog(
  options: { debug?: boolean; write?: (line: string) => void; now?: () => Date } = {},
): AgentLog {
  const write = options.write ?? ((line: string) => void process.stderr.write(line));
  const now = options.now ?? (() => new Date());
  const at =
    (level: string) =>
    (event: string, fields: LogFields = {}): void =>
      write(`${JSON.stringify({ time: now().toISOString(), level, event, ...fields })}\n`);
  return {
    debug: options.debug ? at('debug') : () => {},
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
  };
}

export const silentLog: AgentLog = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

/** Message of anything thrown. */
export const errorText = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** System error code such as `ENOENT`, or null. */
export const errorCode = (error: unknown): string | null =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null;
