/** Terminals of the agent alone: real PTYs and processes, the server is the test. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { v7 as newId } from 'uuid';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Link } from '../../agent/link.ts';
import { silentLog } from '../../agent/log.ts';
import { hasEnvironmentEntry, isAlive, listPids } from '../../agent/proc.ts';
import { createTerminals, type Terminals } from '../../agent/terminals.ts';
import type { AgentFrame } from '../../contracts/agent-protocol.ts';
import {
  decodeTerminalBytes,
  encodeTerminalBytes,
  TERMINAL_REPLAY_BYTES,
  TERMINAL_WINDOW_BYTES,
  type TerminalAgentFrame,
} from '../../contracts/terminal-protocol.ts';
import { waitFor } from '../support/scripted-bridge.ts';
import { createFixture, exited, type Fixture, linesOf } from './agent-fixture.ts';

const LONG_MS = 60_000;

describe.runIf(process.platform === 'linux')('terminals of an agent', () => {
  let directory: string;
  let terminals: Terminals;
  let frames: AgentFrame[];
  /** Output as it came: every piece with its offset. */
  let pieces: { sessionId: string; offset: number; bytes: Buffer }[];
  let isConnected: boolean;

  const link: Link = {
    send: (frame) => {
      if (isConnected) frames.push(frame);
      return isConnected;
    },
    sendBytes: (frame) => {
      const decoded = decodeTerminalBytes(frame);
      if (isConnected && decoded?.kind === 'output') pieces.push({ ...decoded });
      return isConnected;
    },
    hasRoom: () => isConnected,
  };
  const make = (options: Parameters<typeof createTerminals>[0]['options'] = { shell: 'sh' }) =>
    createTerminals({
      options,
      home: directory,
      machine: {
        cgroups: null,
        shells: ['sh'],
        environment: { PATH: process.env.PATH, HOME: directory, SECRET_OF_THE_AGENT: 'x' },
      },
      kill: { graceMs: 200, deadlineMs: 10_000 },
      link,
      log: silentLog,
    });

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'steelthread-terminals-'));
    frames = [];
    pieces = [];
    isConnected = true;
    terminals = await make();
  });
  afterEach(async () => {
    await terminals.close('test over');
    rmSync(directory, { recursive: true, force: true });
  });

  const of = <T extends TerminalAgentFrame['type']>(type: T, sessionId: string) =>
    frames.filter(
      (frame): frame is Extract<TerminalAgentFrame, { type: T; sessionId: string }> =>
        frame.type === type && 'sessionId' in frame && frame.sessionId === sessionId,
    );
  const until = <T extends TerminalAgentFrame['type']>(type: T, sessionId: string) =>
    waitFor(type, () => of(type, sessionId).at(-1));
  const open = async (limits: Partial<Record<'idleMs' | 'detachedMs' | 'maxMs', number>> = {}) => {
    const sessionId = newId();
    terminals.receive({
      type: 'terminal.open',
      sessionId,
      cols: 80,
      rows: 24,
      idleMs: LONG_MS,
      detachedMs: LONG_MS,
      maxMs: LONG_MS,
      ...limits,
    });
    await until('terminal.opened', sessionId);
    return sessionId;
  };
  const typed = new Map<string, number>();
  const type = (sessionId: string, text: string): void => {
    const bytes = Buffer.from(text);
    const offset = typed.get(sessionId) ?? 0;
    typed.set(sessionId, offset + bytes.length);
    terminals.receiveBytes(encodeTerminalBytes({ kind: 'input', sessionId, offset, bytes }));
  };
  const length = (sessionId: string): number =>
    Math.max(
      0,
      ...pieces.filter((each) => each.sessionId === sessionId).map((each) => each.offset + each.bytes.length),
    );
  const text = (sessionId: string): string =>
    Buffer.concat(pieces.filter((each) => each.sessionId === sessionId).map(({ bytes }) => bytes)).toString();

  test('are offered only when they are configured', async () => {
    expect(terminals.capabilities).toEqual(['terminal']);
    const none = await createTerminals({
      options: undefined,
      home: directory,
      machine: { cgroups: null, shells: ['sh'], environment: {} },
      link,
      log: silentLog,
    });
    expect(none.capabilities).toEqual([]);
    const sessionId = newId();
    none.receive({
      type: 'terminal.open',
      sessionId,
      cols: 80,
      rows: 24,
      idleMs: 1,
      detachedMs: 1,
      maxMs: 1,
    });
    expect(await until('terminal.closed', sessionId)).toMatchObject({ reason: 'terminals_unavailable' });
  });

  test('run with a clean environment', async () => {
    const sessionId = await open();
    type(sessionId, 'env; echo end-$((1+1))\n');
    await waitFor('the environment', () => text(sessionId).includes('end-2'));
    expect(text(sessionId)).toContain('TERM=xterm-256color');
    expect(text(sessionId)).toContain(`STEELTHREAD_COMMAND_ID=${sessionId}`);
    expect(text(sessionId)).not.toContain('SECRET_OF_THE_AGENT');
  });

  test('are not read beyond the window while nothing is acked, and lose nothing (T2)', async () => {
    const sessionId = await open();
    const done = join(directory, 'done');
    const count = 4 * TERMINAL_WINDOW_BYTES;
    type(sessionId, `stty -echo; head -c ${count} /dev/zero | tr '\\0' x; touch ${done}\n`);
    await waitFor('a full window', () => length(sessionId) === TERMINAL_WINDOW_BYTES);
    expect(existsSync(done)).toBe(false);
    let acked = 0;
    await waitFor('the rest', () => {
      if (length(sessionId) - acked >= TERMINAL_WINDOW_BYTES) {
        acked = length(sessionId);
        terminals.receive({ type: 'terminal.ack', sessionId, offset: acked });
      }
      return text(sessionId).replace(/[^x]/g, '').length >= count;
    });
    for (let at = 1; at < pieces.length; at++) {
      const before = pieces[at - 1];
      expect(pieces[at]?.offset).toBe((before?.offset ?? 0) + (before?.bytes.length ?? 0));
    }
    // What was acked is kept as far as readers may come back to.
    pieces = [];
    terminals.receive({ type: 'terminal.attach', sessionId, offset: 0, attended: true });
    const attached = await until('terminal.attached', sessionId);
    expect(attached.offset).toBeGreaterThan(0);
    expect(acked - attached.offset).toBeGreaterThanOrEqual(TERMINAL_REPLAY_BYTES);
    await waitFor('the kept bytes', () => pieces[0]?.offset === attached.offset);
  });

  test('take input once, however often it is sent, and say how far they are', async () => {
    const sessionId = await open();
    const bytes = Buffer.from('echo once-$((2-1))\n');
    const frame = encodeTerminalBytes({ kind: 'input', sessionId, offset: 0, bytes });
    terminals.receiveBytes(frame);
    terminals.receiveBytes(frame);
    await waitFor('the answer', () => text(sessionId).includes('once-1'));
    terminals.receive({
      type: 'terminal.attach',
      sessionId,
      offset: length(sessionId),
      attended: true,
      attachId: 7,
    });
    expect(await until('terminal.attached', sessionId)).toMatchObject({
      inputOffset: bytes.length,
      attachId: 7,
    });
    expect((await until('terminal.inputAck', sessionId)).offset).toBe(bytes.length);
    expect(text(sessionId).split('once-1')).toHaveLength(2);
  });

  test.each([
    ['idle', { idleMs: 200 }, 'open'],
    ['max_duration', { maxMs: 200 }, 'open'],
    ['detached', { detachedMs: 200 }, 'detach'],
    ['detached', { detachedMs: 200 }, 'lost'],
  ] as const)('end as %s (%o, %s)', async (reason, limits, how) => {
    const sessionId = await open(limits);
    if (how === 'detach') terminals.receive({ type: 'terminal.detach', sessionId });
    if (how === 'lost') terminals.linkLost();
    expect(await until('terminal.closed', sessionId)).toMatchObject({ reason, survivors: 0 });
  });

  test('that ended while nobody was connected are told of with all their output', async () => {
    const sessionId = await open();
    isConnected = false;
    terminals.linkLost();
    const { pid } = await until('terminal.opened', sessionId);
    type(sessionId, 'echo last-$((4+4)); exit 7\n');
    await waitFor('the end', () => !isAlive(pid, null));
    isConnected = true;
    terminals.announce();
    expect(frames.at(-1)).toEqual({ type: 'terminal.alive', sessionIds: [sessionId] });
    terminals.receive({ type: 'terminal.attach', sessionId, offset: 0, attended: true });
    const closed = await until('terminal.closed', sessionId);
    expect(closed).toMatchObject({ reason: 'exited', exitCode: 7 });
    expect(text(sessionId)).toContain('last-8');
    expect(closed.outputBytes).toBe(length(sessionId));
    terminals.receive({ type: 'terminal.closedAck', sessionId });
    terminals.announce();
    expect(frames.at(-1)).toEqual({ type: 'terminal.alive', sessionIds: [] });
  });

  test('give all that a program wrote before it ended, also when nobody read for long', async () => {
    const sessionId = await open();
    const count = TERMINAL_WINDOW_BYTES + 20_000;
    // It ends while the window is full and the rest is in the kernel's buffer.
    type(
      sessionId,
      `stty -echo; exec sh -c "head -c ${count} /dev/zero | tr '\\\\0' '\\\\176'; printf END"\n`,
    );
    await waitFor('a full window', () => length(sessionId) >= TERMINAL_WINDOW_BYTES);
    terminals.receive({ type: 'terminal.ack', sessionId, offset: length(sessionId) });
    const closed = await until('terminal.closed', sessionId);
    expect(text(sessionId).replace(/[^~]/g, '')).toHaveLength(count);
    expect(text(sessionId).endsWith('END')).toBe(true);
    expect(closed).toMatchObject({ reason: 'exited', outputBytes: length(sessionId) });
  });

  test('that cannot be noted for the next agent process are ended, and leave nothing', async () => {
    rmSync(join(directory, 'terminals'), { recursive: true });
    const sessionId = newId();
    terminals.receive({
      ...{ type: 'terminal.open', sessionId, cols: 80, rows: 24 },
      ...{ idleMs: LONG_MS, detachedMs: LONG_MS, maxMs: LONG_MS },
    });
    expect(await until('terminal.closed', sessionId)).toMatchObject({
      reason: 'terminal_failed',
      survivors: 0,
    });
    const mark = `STEELTHREAD_COMMAND_ID=${sessionId}`;
    expect(listPids().filter((pid) => hasEnvironmentEntry(pid, mark))).toEqual([]);
  });

  test('are refused beyond their number', async () => {
    await terminals.close('other options');
    terminals = await make({ shell: 'sh', maxSessions: 1 });
    await open();
    const second = newId();
    terminals.receive({
      type: 'terminal.open',
      sessionId: second,
      cols: 80,
      rows: 24,
      idleMs: LONG_MS,
      detachedMs: LONG_MS,
      maxMs: LONG_MS,
    });
    expect(await until('terminal.closed', second)).toMatchObject({ reason: 'too_many_terminals' });
  });
});

describe.runIf(process.platform === 'linux')('an agent that was killed', () => {
  let fixture: Fixture;
  afterEach(() => fixture.close());

  test('ends what its terminals left running before it connects again', async () => {
    fixture = await createFixture();
    const pids = join(fixture.directory, 'pids');
    const child = join(fixture.directory, 'child.sh');
    writeFileSync(child, `trap '' TERM HUP\necho $$ >> ${pids}\nwhile :; do sleep 0.2; done\n`);
    const shell = join(fixture.directory, 'shell');
    writeFileSync(
      shell,
      `#!/bin/sh\nsetsid sh ${child} &\nnohup sh ${child} > /dev/null &\nexec sh ${child}\n`,
      {
        mode: 0o755,
      },
    );
    const environment = { STEELTHREAD_AGENT_TERMINAL: '1', STEELTHREAD_AGENT_TERMINAL_SHELL: shell };
    const first = fixture.agentProcess(undefined, environment);
    const session = await fixture.bridge.session(0);
    expect(session.hello.capabilities).toContain('terminal');
    session.send({
      type: 'terminal.open',
      sessionId: newId(),
      cols: 80,
      rows: 24,
      idleMs: LONG_MS,
      detachedMs: LONG_MS,
      maxMs: LONG_MS,
    });
    const living = (): string[] => linesOf(pids).filter((pid) => isAlive(Number(pid), null));
    await waitFor('three processes', () => living().length === 3);
    first.kill('SIGKILL');
    await exited(first);
    expect(living().length).toBeGreaterThan(0);
    fixture.agentProcess(undefined, environment);
    await fixture.bridge.session(1);
    expect(living()).toEqual([]);
  });
});
