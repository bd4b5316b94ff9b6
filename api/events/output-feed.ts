/**
 * One client's live output of one command: stored bytes in order of offset, until the command is final.
 *
 *  A. The row is read before its bytes, and bytes up to the row's counts only: when the row is final, all it speaks of
 *     was sent before `end`.
 *  B. Woken by output, by events of the command, and by a slow poll; nothing depends on any of them.
 */

import type { StreamName } from '../../contracts/agent-protocol.ts';
import type { OutputEnd, OutputEvent } from '../../contracts/command-routes.ts';
import { isFinalCommandState } from '../../contracts/command-states.ts';
import { problem } from '../../contracts/errors.ts';
import type { EventStream } from '../../contracts/route.ts';
import { getCommand, outputParts } from '../../domain/commands/read.ts';
import type { Actor, DomainDeps } from '../../domain/deps.ts';
import type { Hub } from './hub.ts';
import type { Viewer } from './session-watch.ts';

/** The backstop of a lost wake-up, milliseconds. */
const POLL_INTERVAL_MS = 5_000;
/** Bytes of one `output` event. As base64 and as JSON text (up to six bytes each) it stays below a stream's buffer. */
const PART_BYTES = 64 * 1024;
const streams = ['stdout', 'stderr'] as const satisfies readonly StreamName[];

/** Next offset of each stream; as text `<stdout>.<stderr>`. */
export type OutputPosition = Record<StreamName, number>;

/**
 * The position a client gives back, checked against what is stored.
 * @throws invalid_cursor, command_not_found
 */
export async function openOutputPosition(
  deps: DomainDeps,
  actor: Actor,
  commandId: string,
  cursor: string | null,
): Promise<OutputPosition> {
  const command = await getCommand(deps, actor, commandId);
  if (cursor === null) return { stdout: 0, stderr: 0 };
  const [, stdout, stderr] = /^(\d{1,15})\.(\d{1,15})$/.exec(cursor) ?? [];
  const position = { stdout: Number(stdout), stderr: Number(stderr) };
  const isKnown = streams.every((stream) => position[stream] <= command[stream].bytes);
  if (stdout === undefined || stderr === undefined || !isKnown) throw problem('invalid_cursor');
  return position;
}

/** Feeds the stream until the command's end was sent or the stream is closed. */
export async function feedOutput(
  deps: DomainDeps & { hub: Hub },
  input: { actor: Actor; viewer: Pick<Viewer, 'principal'>; commandId: string; position: OutputPosition },
  stream: EventStream,
): Promise<void> {
  const { commandId, viewer } = input;
  const position = { ...input.position };
  const bell = createBell();
  const unsubscribe = [
    deps.hub.subscribeOutput((ids) => {
      if (ids === '*' || ids.has(commandId)) bell.ring();
    }),
    deps.hub.subscribe(({ row }) => {
      if (row.commandId === commandId) bell.ring();
    }),
  ];
  const poll = setInterval(bell.ring, POLL_INTERVAL_MS);
  stream.closed.addEventListener('abort', bell.ring);
  try {
    while (!stream.closed.aborted) {
      bell.reset();
      const actor = { ...input.actor, principal: viewer.principal };
      const command = await getCommand(deps, actor, commandId); // A
      for (const name of streams) await sendStored(name, command[name].bytes);
      if (isFinalCommandState(command.state)) {
        stream.send({ id: idOf(position), event: 'end', data: endOf(command) });
        await stream.drained();
        return;
      }
      await bell.rung();
    }
  } finally {
    for (const leave of unsubscribe) leave();
    clearInterval(poll);
    stream.closed.removeEventListener('abort', bell.ring);
  }

  async function sendStored(name: StreamName, end: number): Promise<void> {
    const parts = outputParts(deps, commandId, name, position[name], end, PART_BYTES);
    for await (const bytes of parts) {
      if (stream.closed.aborted) return;
      const offset = position[name];
      position[name] += bytes.length;
      const data: OutputEvent = { stream: name, offset, bytes: bytes.toString('base64'), ...textOf(bytes) };
      stream.send({ id: idOf(position), event: 'output', data });
      await stream.drained();
    }
  }
}

const idOf = (position: OutputPosition): string => `${position.stdout}.${position.stderr}`;

type Final = Awaited<ReturnType<typeof getCommand>>;

function endOf({ commandId, state, exitCode, signal, reason, durationMs, stdout, stderr }: Final): OutputEnd {
  const withoutUrl = ({ bytes, totalBytes, sha256, truncated }: Final['stdout']) => ({
    bytes,
    totalBytes,
    sha256,
    truncated,
  });
  return {
    commandId,
    state,
    exitCode,
    signal,
    reason,
    durationMs,
    stdout: withoutUrl(stdout),
    stderr: withoutUrl(stderr),
  };
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function textOf(bytes: Buffer): { text?: string } {
  try {
    return { text: utf8.decode(bytes) };
  } catch {
    return {};
  }
}

/** Remembers that it was rung until it is reset. */
function createBell() {
  let isRung = false;
  let wake: () => void = () => {};
  return {
    ring(): void {
      isRung = true;
      wake();
    },
    reset(): void {
      isRung = false;
    },
    async rung(): Promise<void> {
      if (!isRung) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}
