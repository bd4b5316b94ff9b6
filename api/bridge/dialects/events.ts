/** What agents of the dialects say, in any of their shapes, as one union. */
import { type Fields, fieldsOf, firstText } from './json.ts';
import { type LegacyResult, readResult } from './result.ts';

export type LegacyEvent =
  | { kind: 'register'; frame: Fields; systemInfo: Fields | undefined }
  /** It is there; what it says of its machine, if anything. */
  | { kind: 'alive'; systemInfo: Fields | undefined }
  | { kind: 'ping' }
  | { kind: 'result'; result: LegacyResult }
  /** A type that means nothing here: these agents' servers have always passed over such frames. */
  | { kind: 'other'; frameType: string }
  | { kind: 'malformed'; message: string };

const aliveTypes = new Set([
  'heartbeat',
  'system_info_update',
  'system_info',
  'system_info_response',
  'pong',
]);
const resultTypes = new Set(['command_result', 'powershell_result', 'command_response']);

/** Parse a text frame. Never throws. */
export function parseLegacyFrame(text: string): LegacyEvent {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { kind: 'malformed', message: 'Invalid JSON' };
  }
  const frame = fieldsOf(value);
  const type = frame?.type;
  if (frame === undefined || typeof type !== 'string') {
    return { kind: 'malformed', message: 'Message must be a JSON object with a type' };
  }
  if (type === 'register') return { kind: 'register', frame, systemInfo: systemInfoOf(frame) };
  if (type === 'ping') return { kind: 'ping' };
  if (aliveTypes.has(type)) return { kind: 'alive', systemInfo: systemInfoOf(frame) };
  if (resultTypes.has(type)) {
    const result = readResult(frame);
    return result === undefined
      ? { kind: 'malformed', message: 'A result must name its command' }
      : { kind: 'result', result };
  }
  return { kind: 'other', frameType: firstText(64, type) ?? '' };
}

/** `data.system_info`, `system_metrics`, or the information itself where the frame is an answer about it. */
function systemInfoOf(frame: Fields): Fields | undefined {
  const data = fieldsOf(frame.data);
  const isAbout = typeof frame.type === 'string' && frame.type.startsWith('system_info');
  return (
    fieldsOf(data?.system_info) ??
    fieldsOf(data?.system_metrics) ??
    fieldsOf(frame.system_info) ??
    fieldsOf(frame.system_metrics) ??
    (isAbout ? data : undefined)
  );
}
