/** What a command printed and how it ended, as one text and one number: as clients of the hub are told. */
import type { StreamName } from '../../contracts/agent-protocol.ts';
import { type CommandState, isFinalCommandState } from '../../contracts/command-states.ts';
import { readOutputHeads } from '../../db/command-output.ts';
import type { Queryable } from '../../db/database.ts';

/** The exit code of what ended without one: out of time, stopped, never started, or nobody knows. */
export const NO_EXIT_CODE = -1;

/** null while it has not ended. */
export const exitCodeOf = (command: { state: CommandState; exitCode: number | null }): number | null =>
  isFinalCommandState(command.state) ? (command.exitCode ?? NO_EXIT_CODE) : null;

export interface OutputText {
  /** Standard output, then standard error. Invalid bytes are U+FFFD. */
  text: string;
  /** It wrote more. */
  isCut: boolean;
}

/**
 * The beginning of what these commands wrote, by command id; of one that wrote nothing there is none.
 * @param commands as the caller may see them
 * @param maxBytes of each of the two streams
 */
export async function readOutputTexts(
  db: Queryable,
  commands: readonly { commandId: string; outputBytes: number; isTruncated: boolean }[],
  maxBytes: number,
): Promise<Map<string, OutputText>> {
  const ids = commands.filter(({ outputBytes }) => outputBytes > 0).map(({ commandId }) => commandId);
  const parts = ids.length === 0 ? [] : await readOutputHeads(db, ids, maxBytes);
  const streams = new Map<string, Buffer[]>();
  for (const { commandId, stream, bytes } of parts) {
    const key = keyOf(commandId, stream);
    streams.set(key, [...(streams.get(key) ?? []), bytes]);
  }
  return new Map(
    commands.map(({ commandId, outputBytes, isTruncated }) => {
      const [out, err] = (['stdout', 'stderr'] as const).map((stream) =>
        Buffer.concat(streams.get(keyOf(commandId, stream)) ?? []),
      );
      const shown = (out?.length ?? 0) + (err?.length ?? 0);
      const isCut = isTruncated || outputBytes > shown;
      const texts = [out, err]
        .map((bytes) => decodeOutput(bytes ?? Buffer.alloc(0), isCut))
        .filter((text) => text !== '');
      return [commandId, { text: joined(texts), isCut }];
    }),
  );
}

const keyOf = (commandId: string, stream: StreamName): string => `${commandId} ${stream}`;

/** A character that a cut halves is left out. */
export const decodeOutput = (bytes: Buffer, isCut: boolean): string =>
  new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes, { stream: isCut });

const joined = ([first = '', second]: string[]): string =>
  second === undefined ? first : `${first}${first.endsWith('\n') ? '' : '\n'}${second}`;
