/** Ad-hoc commands from the request to the outcome on real agents: results, live output, bytes. */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { OutputEvent } from '../../contracts/command-routes.ts';
import { type Ledger, ledgerOf, only } from '../support/ledger.ts';
import { readEventStream } from '../support/sse.ts';
import { type System, startSystem } from '../support/system.ts';

const MEBIBYTE = 1024 * 1024;
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

let system: System;
let ledger: Ledger;

beforeAll(async () => {
  system = await startSystem({ worker: false });
  ledger = ledgerOf(system);
  await Promise.all(['one', 'two', 'three'].map((agentId) => system.startAgent({ agentId })));
});
afterAll(() => system.close());

describe('a run that waits', () => {
  it('answers 201 with the outcome of one agent', async () => {
    const reply = await ledger.post({
      agents: ['one'],
      act: { command: 'echo out; echo err >&2; exit 3' },
      waitMs: 10_000,
    });
    expect(reply.status).toBe(201);
    expect(reply.headers.get('location')).toContain(reply.body.batchId);
    const command = only(reply.body.commands);
    expect(command).toMatchObject({ state: 'failed', exitCode: 3, signal: null, attempt: 1 });
    expect(reply.body).toMatchObject({ size: 1, pending: 0, finishedAt: expect.any(String) });
    expect((await ledger.download(command.commandId, 'stdout')).toString()).toBe('out\n');
    expect((await ledger.download(command.commandId, 'stderr')).toString()).toBe('err\n');
    expect(await ledger.events(command.commandId)).toEqual([
      'command.sent',
      'command.started',
      'command.finished',
    ]);
  });

  it('answers when the last of many agents is done', async () => {
    const batch = await ledger.run({
      agents: ['one', 'two', 'three'],
      act: { argv: ['sh', '-c', 'exit 0'] },
      waitMs: 10_000,
    });
    expect(batch).toMatchObject({ size: 3, pending: 0 });
    expect(batch.commands.map((command) => command.state)).toEqual(['succeeded', 'succeeded', 'succeeded']);
    expect(new Set(batch.commands.map((command) => command.agentId)).size).toBe(3);
  });

  it('answers 202 with the batch as it stands when the time is over', async () => {
    const reply = await ledger.post({ agents: ['one'], act: { command: 'sleep 30' }, waitMs: 200 });
    expect(reply.status).toBe(202);
    const command = only(reply.body.commands);
    expect(['sent', 'running']).toContain(command.state);
    await ledger.cancel(command.commandId);
    expect(await ledger.until(command.commandId, 'canceled')).toMatchObject({ exitCode: null });
  });
});

describe('a run that does not wait', () => {
  it('names an agent once however often it is asked', async () => {
    const batch = await ledger.run({ agents: ['one', 'one', 'two'], act: { command: 'true' } });
    expect(batch.commands.map((command) => command.agentId).sort()).toEqual(['one', 'two']);
    for (const { commandId } of batch.commands) await ledger.until(commandId, 'succeeded');
  });

  it('answers clear errors and makes nothing', async () => {
    const unknown = await ledger.post({ agents: ['one', 'nobody'], act: { command: 'true' } });
    expect(unknown).toMatchObject({ status: 404, body: { code: 'agent_not_found' } });
    // Fits the request, but not the frame it would leave in.
    const huge = await ledger.post({
      agents: ['one'],
      act: {
        command: 'true',
        stdin: Buffer.alloc(112_500).toString('base64'),
        environment: environmentOf(27),
      },
    });
    expect(huge).toMatchObject({ status: 422, body: { code: 'validation_failed' } });
    expect(await ledger.sql('select 1 from commands where agent_id = :id', { id: 'nobody' })).toEqual([]);
  });
});

/** So many variables of 32 KiB, each byte of which takes one byte of JSON. */
const environmentOf = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`NAME_${at}`, 'x'.repeat(32 * 1024)]));

describe('live output', () => {
  it('comes while the command runs, in order, and ends with its outcome', async () => {
    const gate = `${system.env.STEELTHREAD_HOME}/gate-live`;
    const { commandId } = await ledger.start(
      'one',
      `echo first; echo problem >&2; while [ ! -e ${gate} ]; do sleep 0.02; done; echo second`,
    );
    const stream = await readEventStream(`${system.url}/v1/commands/${commandId}/output`, {
      authorization: `Bearer ${system.token()}`,
    });
    const textOf = (name: string) =>
      stream.events
        .filter((event) => event.event === 'output' && (event.data as OutputEvent).stream === name)
        .map((event) => Buffer.from((event.data as OutputEvent).bytes, 'base64').toString())
        .join('');
    await system.until(
      async () => [textOf('stdout'), textOf('stderr')],
      ([out, err]) => out === 'first\n' && err === 'problem\n',
      'the first lines',
    );
    expect((await ledger.command(commandId)).state).toBe('running');
    writeFileSync(gate, '');
    await stream.ended;
    expect(textOf('stdout')).toBe('first\nsecond\n');
    expect(stream.events.at(-1)).toMatchObject({ event: 'end', data: { state: 'succeeded', exitCode: 0 } });

    // Resumed after the first line: only what follows it.
    const afterFirst = stream.events.find(
      (event) => event.event === 'output' && (event.data as OutputEvent).stream === 'stdout',
    );
    const resumed = await readEventStream(`${system.url}/v1/commands/${commandId}/output`, {
      authorization: `Bearer ${system.token()}`,
      'last-event-id': afterFirst?.id ?? '',
    });
    await resumed.ended;
    const rest = resumed.events
      .filter((event) => event.event === 'output' && (event.data as OutputEvent).stream === 'stdout')
      .map((event) => Buffer.from((event.data as OutputEvent).bytes, 'base64').toString());
    expect(rest.join('')).toBe('second\n');
  });
});

describe('output bytes', () => {
  it('keeps NUL and invalid UTF-8 byte for byte', async () => {
    const bytes = Buffer.from([0, 1, 0xff, 0xfe, 0x80, 0, 0x0a, 0xc3, 0x28, 0]);
    const batch = await ledger.run({
      agents: ['two'],
      act: { command: 'cat; printf "\\000\\377" >&2', stdin: bytes.toString('base64') },
      waitMs: 10_000,
    });
    const command = only(batch.commands);
    expect((await ledger.download(command.commandId, 'stdout')).equals(bytes)).toBe(true);
    expect((await ledger.download(command.commandId, 'stderr')).equals(Buffer.from([0, 0xff]))).toBe(true);
    expect(command.stdout).toMatchObject({
      bytes: 10,
      totalBytes: 10,
      sha256: sha256(bytes),
      truncated: false,
    });
  });

  it('cuts 20 MiB at the cap, says so, and hashes what is kept', async () => {
    const script = `for (let i = 0; i < 20; i++) { const b = Buffer.alloc(1 << 20); for (let j = 0; j < b.length; j += 4) b.writeUInt32LE((i << 20) + j, j); process.stdout.write(b); }`;
    const expected = Buffer.alloc(16 * MEBIBYTE);
    for (let at = 0; at < expected.length; at += 4) expected.writeUInt32LE(at, at);
    const batch = await ledger.run({
      agents: ['three'],
      act: { argv: [process.execPath, '-e', script] },
      waitMs: 30_000,
    });
    const command = only(batch.commands);
    expect(command).toMatchObject({
      state: 'succeeded',
      stdout: { bytes: 16 * MEBIBYTE, totalBytes: 20 * MEBIBYTE, truncated: true, sha256: sha256(expected) },
    });
    const whole = await ledger.download(command.commandId, 'stdout');
    expect(whole.equals(expected)).toBe(true);
    const part = await ledger.download(command.commandId, 'stdout', '?offset=70001&limit=300003');
    expect(part.equals(expected.subarray(70_001, 370_004))).toBe(true);
  });

  it('keeps each stream in order when both are written in turns', async () => {
    const batch = await ledger.run({
      agents: ['one'],
      act: { command: 'i=0; while [ $i -lt 300 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done' },
      waitMs: 15_000,
    });
    const { commandId } = only(batch.commands);
    const lines = (letter: string) => Array.from({ length: 300 }, (_, at) => `${letter}${at}\n`).join('');
    expect((await ledger.download(commandId, 'stdout')).toString()).toBe(lines('o'));
    expect((await ledger.download(commandId, 'stderr')).toString()).toBe(lines('e'));
  });

  it('keeps nothing of a stream whose cap is 0, and says so', async () => {
    const batch = await ledger.run({
      agents: ['one'],
      act: { command: 'echo lost', outputCapBytes: 0 },
      waitMs: 10_000,
    });
    expect(only(batch.commands).stdout).toMatchObject({ bytes: 0, totalBytes: 5, truncated: true });
  });
});
