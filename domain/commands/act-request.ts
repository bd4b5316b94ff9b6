/** From what a client wrote to the exact act: defaults filled in, bounds of this installation checked. */
import { type Act, actSchema, DEFAULT_EXPIRY_MS, type ShellName } from '../../contracts/act.ts';
import { MAX_FRAME_BYTES } from '../../contracts/agent-protocol.ts';
import type { ActRequest } from '../../contracts/commands.ts';
import { problem, type ValidationIssue } from '../../contracts/errors.ts';
import { findControl } from '../danger/unseen.ts';
import type { DomainLimits } from '../deps.ts';

/** Largest act as JSON, bytes: its run frame must stay below the protocol's MAX_FRAME_BYTES. */
export const MAX_ACT_BYTES = MAX_FRAME_BYTES - 16 * 1024;

export interface ActDefaults {
  /** Shell of a command that names none; asked only when needed. */
  shell: () => ShellName;
  timeoutMs?: number | undefined;
  expiryMs?: number | undefined;
}

/** @throws validation_failed with one issue per problem, pointing into `act` */
export function buildAct(request: ActRequest, limits: DomainLimits, defaults: ActDefaults): Act {
  const shared = {
    stdin: request.stdin ?? null,
    workingDirectory: request.workingDirectory ?? null,
    environment: request.environment ?? {},
    user: request.user ?? null,
    elevated: request.elevated ?? false,
    timeoutMs: request.timeoutMs ?? defaults.timeoutMs ?? limits.defaultTimeoutMs,
    outputCapBytes: request.outputCapBytes ?? limits.outputCapBytes,
    expiryMs: request.expiryMs ?? defaults.expiryMs ?? DEFAULT_EXPIRY_MS,
  };
  const parsed = actSchema.safeParse(
    request.argv !== undefined
      ? { mode: 'argv', argv: request.argv, ...shared }
      : { mode: 'shell', shell: request.shell ?? defaults.shell(), script: request.command, ...shared },
  );
  const issues: ValidationIssue[] = [];
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      const path = issue.path.map((part) => (part === 'script' ? 'command' : (part as string | number)));
      issues.push({ in: 'body', path: ['act', ...path], message: issue.message, type: 'value_error' });
    }
  }
  issues.push(...controlIssues(request));
  issues.push(...limitIssues(shared.timeoutMs, limits.maxTimeoutMs, 'timeoutMs', timeText));
  issues.push(
    ...limitIssues(
      shared.outputCapBytes,
      limits.outputCapBytes,
      'outputCapBytes',
      (bytes) => `${bytes} bytes`,
    ),
  );
  if (parsed.success && Buffer.byteLength(JSON.stringify(parsed.data)) > MAX_ACT_BYTES) {
    const message = `must be at most ${MAX_ACT_BYTES} bytes as JSON`;
    issues.push({ in: 'body', path: ['act'], message, type: 'too_long' });
  }
  if (!parsed.success || issues.length > 0) throw problem('validation_failed', {}, { issues });
  return parsed.data;
}

/** What is approved must be what is seen: a control character can make a terminal show another command (promise P5). */
function controlIssues(request: ActRequest): ValidationIssue[] {
  const shown: [path: (string | number)[], text: string | undefined][] = [
    [['command'], request.command],
    ...(request.argv ?? []).map((item, index): [(string | number)[], string] => [['argv', index], item]),
    [['workingDirectory'], request.workingDirectory],
    [['user'], request.user],
  ];
  return shown.flatMap(([path, text]) => {
    const found = text === undefined ? undefined : findControl(text);
    if (found === undefined) return [];
    const message = `must not hold control characters other than tab and line break, but has ${found}`;
    return [{ in: 'body' as const, path: ['act', ...path], message, type: 'value_error' }];
  });
}

/** In both units: families have seconds where the house has milliseconds. */
const timeText = (ms: number): string => `${ms} ms (${ms / 1000} s)`;

function limitIssues(
  value: number,
  max: number,
  field: string,
  textOf: (value: number) => string,
): ValidationIssue[] {
  if (value <= max) return [];
  return [
    {
      in: 'body',
      path: ['act', field],
      message: `must be at most ${textOf(max)} here`,
      type: 'less_than_equal',
    },
  ];
}
