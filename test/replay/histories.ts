/** Recorded histories: where they are, and what is taken out of them before they are kept. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const historiesFolder = fileURLToPath(new URL('./histories', import.meta.url));

/** A payload of more characters than this is replaced: replay compares kinds and order, never what signals carry. */
const MAX_PAYLOAD_CHARACTERS = 10_000;
const EMPTY_JSON_PAYLOAD = Buffer.from('{"batchId":"cut"}').toString('base64');

/** The history without the machine it was recorded on: identities, stack traces, oversized payloads. */
export function cleanHistory(historyJson: string): unknown {
  return JSON.parse(historyJson, (key, value: unknown) => {
    if (key === 'identity') return 'recorded';
    if (key === 'stackTrace') return '';
    if (key === 'data' && typeof value === 'string' && value.length > MAX_PAYLOAD_CHARACTERS) {
      return EMPTY_JSON_PAYLOAD;
    }
    return value;
  });
}

export interface RecordedHistory {
  name: string;
  history: { events: Record<string, unknown>[] };
}

export function readHistories(): RecordedHistory[] {
  return readdirSync(historiesFolder)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => ({
      name: name.replace(/\.json$/, ''),
      history: JSON.parse(readFileSync(join(historiesFolder, name), 'utf8')) as RecordedHistory['history'],
    }));
}
