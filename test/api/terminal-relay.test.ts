/** A relay and its recorder with a scripted agent and client: windows, order, what is recorded. */
import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { createTerminalClient } from '../../api/terminal/client.ts';
import { createInputLog } from '../../api/terminal/input-log.ts';
import { createRecorder } from '../../api/terminal/recorder.ts';
import { createRelay, type RelayClient } from '../../api/terminal/relay.ts';
import {
  decodeTerminalBytes,
  encodeTerminalBytes,
  TERMINAL_ACK_EVERY_BYTES,
  TERMINAL_CHUNK_BYTES,
  TERMINAL_INPUT_WINDOW_BYTES,
  TERMINAL_WINDOW_BYTES,
  type TerminalServerFrame,
} from '../../contracts/terminal-protocol.ts';
import { RECORDING_CAP_BYTES } from '../../contracts/terminals.ts';
import type { RecordingChunk } from '../../domain/terminal/recording.ts';

const sessionId = '01890000-0000-7000-8000-000000000000';

function stage({ recordsInput = false }: { recordsInput?: boolean } = {}) {
  const frames: TerminalServerFrame[] = [];
  const inputs: { offset: number; bytes: Buffer }[] = [];
  const chunks: RecordingChunk[] = [];
  const recorder = createRecorder({
    sessionId,
    startedAt: new Date(),
    isOn: true,
    recordsInput,
    resume: { offset: 0, bytes: 0, isTruncated: false },
    store: async (chunk) => void chunks.push(chunk),
    onRoom: () => undefined,
    onError: (error) => {
      throw error;
    },
  });
  const entries: { bytes: number; preview?: string }[] = [];
  const relay = createRelay({
    session: { id: sessionId, agentId: 'one' },
    recorder,
    inputLog: createInputLog({
      showsInput: recordsInput,
      write: async (entry) => void entries.push(entry),
      onError: (error) => {
        throw error;
      },
    }),
    send: (frame) => {
      frames.push(frame);
      return true;
    },
    sendBytes: (frame) => {
      const decoded = decodeTerminalBytes(frame);
      if (decoded?.kind === 'input') inputs.push(decoded);
      return true;
    },
  });
  return { relay, frames, inputs, chunks, entries, recorder };
}

function scriptedClient() {
  const said: unknown[] = [];
  const client: RelayClient = {
    ready: (offset) => void said.push(['ready', offset]),
    output: (offset, bytes) => void said.push(['output', offset, bytes.length]),
    hold: (isHeld) => void said.push(['hold', isHeld]),
    ended: ({ reason }) => void said.push(['ended', reason]),
    leave: (code) => void said.push(['leave', code]),
  };
  return { client, said };
}

const piece = (size: number): Buffer => Buffer.alloc(size, 'x');

describe('frames of bytes', () => {
  it('are read as they were written, and nothing else is', () => {
    const frame = {
      kind: 'output',
      sessionId,
      offset: 2 ** 40 + 3,
      bytes: Buffer.from([0, 255, 10]),
    } as const;
    expect(decodeTerminalBytes(encodeTerminalBytes(frame))).toEqual(frame);
    expect(decodeTerminalBytes(Buffer.alloc(0))).toBeUndefined();
    expect(decodeTerminalBytes(Buffer.alloc(25))).toBeUndefined();
    expect(decodeTerminalBytes(Buffer.alloc(24, 1))).toBeUndefined();
    expect(decodeTerminalBytes(Buffer.alloc(30, 255))).toBeUndefined();
  });
});

describe('a relay', () => {
  it('acks what its client has read, not what it was given, and nothing without a client (T3)', () => {
    const { relay, frames } = stage();
    const { client, said } = scriptedClient();
    relay.takeNew(client);
    relay.opened();
    const offsets = [0, 1, 2, 3, 4].map((number) => number * TERMINAL_CHUNK_BYTES);
    for (const offset of offsets) relay.output(offset, piece(TERMINAL_CHUNK_BYTES));
    expect(said).toEqual([
      ['ready', 0],
      ...offsets.map((offset) => ['output', offset, TERMINAL_CHUNK_BYTES]),
    ]);
    expect(frames).toEqual([]);
    relay.ack(client, TERMINAL_ACK_EVERY_BYTES);
    // More than it was given: nobody has read that.
    relay.ack(client, 10 * TERMINAL_CHUNK_BYTES);
    expect(frames).toEqual([{ type: 'terminal.ack', sessionId, offset: TERMINAL_ACK_EVERY_BYTES }]);
    relay.drop(client);
    relay.ack(client, 5 * TERMINAL_CHUNK_BYTES);
    expect(frames.slice(1)).toEqual([{ type: 'terminal.detach', sessionId }]);
  });

  it('takes no more than the window from an agent that does not wait', () => {
    const { relay } = stage();
    const { client } = scriptedClient();
    relay.takeNew(client);
    relay.opened();
    let offset = 0;
    while (relay.output(offset, piece(TERMINAL_CHUNK_BYTES))) offset += TERMINAL_CHUNK_BYTES;
    expect(offset).toBe(TERMINAL_WINDOW_BYTES + TERMINAL_CHUNK_BYTES);
  });

  it('gives a client that comes back what follows its offset, and not what was on the way before', () => {
    const { relay, frames } = stage();
    const first = scriptedClient();
    relay.takeNew(first.client);
    relay.opened();
    relay.output(0, piece(100));
    relay.drop(first.client);
    const second = scriptedClient();
    relay.take(second.client, 40);
    relay.output(100, piece(50));
    relay.attached({ type: 'terminal.attached', sessionId, offset: 40, inputOffset: 0 });
    relay.output(40, piece(110));
    expect(frames.at(-1)).toMatchObject({ type: 'terminal.attach', sessionId, offset: 40, attended: true });
    expect(second.said).toEqual([
      ['ready', 40],
      ['output', 40, 110],
    ]);
  });

  it('goes on for the newest client when one comes back before an earlier one was answered', () => {
    const { relay, frames } = stage();
    const first = scriptedClient();
    relay.takeNew(first.client);
    relay.opened();
    relay.output(0, piece(100));
    relay.drop(first.client);
    const [gone, last] = [scriptedClient(), scriptedClient()];
    relay.take(gone.client, 40);
    relay.drop(gone.client);
    relay.take(last.client, 60);
    // The answers of the agent, in order, with what it sends after each.
    const [before, after] = frames.filter((frame) => frame.type === 'terminal.attach');
    const answer = { type: 'terminal.attached', sessionId, inputOffset: 0 } as const;
    relay.attached({ ...answer, offset: 40, attachId: before?.attachId });
    relay.output(40, piece(60));
    relay.attached({ ...answer, offset: 60, attachId: after?.attachId });
    relay.output(60, piece(40));
    relay.output(100, piece(7));
    expect(gone.said).toEqual([]);
    expect(last.said).toEqual([
      ['ready', 60],
      ['output', 60, 40],
      ['output', 100, 7],
    ]);
  });

  it('records what an agent sends again after its connection broke, though it went on further ahead at first', async () => {
    const { relay, chunks, frames } = stage();
    relay.output(0, Buffer.from('0123'));
    // '456' was lost with the connection; the agent goes on before it is asked from where.
    relay.output(7, Buffer.from('789'));
    relay.agentBack();
    expect(frames.at(-1)).toMatchObject({ type: 'terminal.attach', offset: 4, attended: false });
    relay.attached({ type: 'terminal.attached', sessionId, offset: 4, inputOffset: 0, attachId: 0 });
    relay.output(4, Buffer.from('456789'));
    // What the agent does not have any more is missing for good.
    relay.agentBack();
    relay.attached({ type: 'terminal.attached', sessionId, offset: 12, inputOffset: 0, attachId: 1 });
    relay.output(12, Buffer.from('cd'));
    relay.output(14, Buffer.from('e'));
    await relay.store();
    expect(Buffer.concat(chunks.map(({ bytes }) => bytes)).toString()).toBe('0123456789cde');
    const marks = chunks.flatMap((chunk) => chunk.marks);
    expect(marks.filter(([, kind]) => kind === 'm').map(([, , what]) => what)).toEqual([
      '2 bytes of output are missing here',
    ]);
  });

  it('tells an agent that came back the size and the end that it may not have heard of', () => {
    const { relay, frames } = stage();
    const { client } = scriptedClient();
    relay.takeNew(client);
    relay.opened();
    relay.resize(100, 30);
    relay.resize(120, 40);
    frames.length = 0;
    relay.agentBack();
    expect(frames.filter(({ type }) => type !== 'terminal.attach')).toEqual([
      { type: 'terminal.resize', sessionId, cols: 120, rows: 40 },
    ]);
    relay.close('closed by its client');
    relay.drop(client);
    frames.length = 0;
    relay.agentBack();
    expect(frames).toContainEqual({ type: 'terminal.close', sessionId, reason: 'closed by its client' });
  });

  it('holds a client whose input is not taken, keeps it, and sends it again to an agent that came back', () => {
    const { relay, inputs } = stage();
    const { client, said } = scriptedClient();
    relay.takeNew(client);
    relay.opened();
    const typed = TERMINAL_INPUT_WINDOW_BYTES;
    relay.input(piece(typed));
    expect(said.at(-1)).toEqual(['hold', true]);
    expect(inputs.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBe(typed);
    inputs.length = 0;
    relay.agentBack();
    relay.attached({
      type: 'terminal.attached',
      sessionId,
      offset: 0,
      inputOffset: TERMINAL_CHUNK_BYTES,
    });
    expect(inputs[0]?.offset).toBe(TERMINAL_CHUNK_BYTES);
    relay.inputTaken(typed);
    expect(said.at(-1)).toEqual(['hold', false]);
  });
});

describe('a client whose credential ends', () => {
  it('before its session was made ends that as well', () => {
    const ws = Object.assign(new EventEmitter(), {
      ...{ pause: () => undefined, resume: () => undefined, send: () => undefined },
      close: () => void setImmediate(() => ws.emit('close')),
      ...{ terminate: () => undefined, ping: () => undefined, isPaused: false, bufferedAmount: 0 },
    });
    const client = createTerminalClient(ws as never, {
      shutdown: new AbortController().signal,
      isBinary: true,
      transport: { cork: () => undefined, uncork: () => undefined, writableCorked: 0 },
      session: () => ({ session_id: '', agent_id: 'one', resumed: false }),
    });
    client.expel();
    const { relay, frames } = stage();
    relay.takeNew(client);
    client.begin(relay, 1_000);
    expect(frames).toContainEqual({
      type: 'terminal.close',
      sessionId,
      reason: 'its credential has ended',
    });
    expect(relay.client()).toBeNull();
  });
});

describe('a recording', () => {
  it('has each byte once, says what is missing, and keeps typed text out unless asked', async () => {
    const { recorder, chunks } = stage();
    recorder.output(0, Buffer.from('abc'));
    recorder.output(1, Buffer.from('bcd'));
    recorder.input(Buffer.from('secret'));
    recorder.output(10, Buffer.from('z'));
    await recorder.flush();
    const shown = chunks.map(({ bytes, fromOffset, recordedOffset }) => [
      bytes.toString(),
      fromOffset,
      recordedOffset,
    ]);
    expect(shown).toEqual([
      ['abcd', 0, 4],
      ['z', 10, 11],
    ]);
    expect(chunks.flatMap(({ marks }) => marks.map(([, kind, what]) => [kind, what]))).toEqual([
      ['o', 3],
      ['o', 1],
      ['m', '6 bytes of output are missing here'],
      ['o', 1],
    ]);
    expect(chunks.some(({ isTruncated }) => isTruncated)).toBe(false);
  });

  it('ends at its largest size, and says so', async () => {
    const { recorder, chunks } = stage();
    const part = piece(RECORDING_CAP_BYTES / 4);
    for (let at = 0; at < 6; at++) recorder.output(at * part.length, part);
    await recorder.flush();
    expect(chunks.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBe(RECORDING_CAP_BYTES);
    expect(chunks.at(-1)).toMatchObject({ isTruncated: true });
    expect(chunks.at(-1)?.marks.at(-1)?.[1]).toBe('m');
    expect(recorder.hasRoom()).toBe(true);
  });

  it('has what was typed where that is asked for, and the log its beginning', async () => {
    const { relay, chunks, entries } = stage({ recordsInput: true });
    relay.input(Buffer.from(`ls\n${'y'.repeat(500)}`));
    await relay.store();
    expect(chunks[0]?.marks.map(([, kind]) => kind)).toEqual(['i']);
    expect(entries).toHaveLength(1);
    expect(entries[0]?.bytes).toBe(503);
    expect(entries[0]?.preview).toMatch(/^ls y{117}$/);
  });
});
