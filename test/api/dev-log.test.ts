/** Development logs: what of requests, answers and errors is written to the file, and what never is. */
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { openDevLog } from '../../api/dev-log.ts';
import { type MountedRoute, mount } from '../../api/mount.ts';
import { problem } from '../../contracts/errors.ts';
import { defineRoute } from '../../contracts/route.ts';
import { sendJson, startTestServer } from '../support/http.ts';
import { startSystem } from '../support/system.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'steelthread-dev-log-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

type Line = { event: string; level: string; time: string; [field: string]: unknown };

const linesOf = (text: string): Line[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

const CANARY = 'CANARY-of-the-body';

const echo = defineRoute({
  family: 'house',
  method: 'POST',
  path: '/v1/echo',
  summary: 'Say it again, or break',
  tags: ['test'],
  auth: 'public',
  rateClass: 'unlimited',
  body: z.strictObject({
    text: z.string().max(100),
    breaks: z.enum(['code', 'database', 'refusal']).optional(),
  }),
  replies: { 200: z.object({ text: z.string() }) },
  errors: ['conflict'],
});

function handle(): MountedRoute {
  return mount(echo, async ({ body: { text, breaks } }) => {
    if (breaks === 'code') throw new Error('the shelf is empty', { cause: new TypeError('no shelf') });
    if (breaks === 'database') {
      throw Object.assign(new Error(`invalid input syntax for type uuid: "${text}"`), {
        severity: 'ERROR',
        code: '22P02',
      });
    }
    if (breaks === 'refusal') throw problem('conflict', { reason: text }, { cause: new Error(text) });
    return { status: 200, body: { text } };
  });
}

/** A server that logs to a file; what it wrote after these requests. */
async function logOf(ask: (send: (body: unknown, path?: string) => Promise<Response>) => Promise<unknown>) {
  const devLog = openDevLog({ folder, orchestratorId: 'o-test' });
  const server = await startTestServer({ routes: [handle()], devLog: devLog.log });
  try {
    let asked = 0;
    await ask((body, path = '/v1/echo') => {
      asked += 1;
      return server.fetch(path, sendJson(body, { 'X-Request-Id': `cid-${asked}` }));
    });
    const read = () => linesOf(readFileSync(devLog.path, 'utf8'));
    await vi.waitFor(() => expect(read().filter(({ event }) => event === 'response')).toHaveLength(asked));
    return { lines: read(), text: readFileSync(devLog.path, 'utf8') };
  } finally {
    await server.close();
    devLog.close();
  }
}

describe('a request', () => {
  it('leaves a line when it comes and one when its answer has left', async () => {
    const { lines, text } = await logOf(async (send) => {
      expect((await send({ text: CANARY }, '/v1/echo?token=sta_secret-of-mine&a=1')).status).toBe(200);
    });
    expect(lines).toEqual([
      {
        level: 'info',
        time: expect.any(String),
        name: 'orch-o-test',
        event: 'request',
        requestId: 'cid-1',
        method: 'POST',
        path: '/v1/echo?token=[redacted]&a=1',
        address: '127.0.0.1',
        bodyBytes: 29,
      },
      {
        level: 'info',
        time: expect.any(String),
        name: 'orch-o-test',
        event: 'response',
        requestId: 'cid-1',
        method: 'POST',
        path: '/v1/echo?token=[redacted]&a=1',
        route: '/v1/echo',
        status: 200,
        durationMs: expect.any(Number),
        principalId: null,
        errorCode: null,
        aborted: false,
      },
    ]);
    expect(text).not.toContain('CANARY');
    expect(text).not.toContain('secret-of-mine');
  });

  it('that breaks leaves its stack and that of the cause', async () => {
    const { lines } = await logOf(async (send) => {
      expect((await send({ text: 'x', breaks: 'code' })).status).toBe(500);
    });
    const [error] = lines.filter(({ event }) => event === 'error');
    expect(error).toMatchObject({ level: 'error', requestId: 'cid-1', code: 'internal_error' });
    const stack = error?.stack as string[];
    expect(stack[0]).toBe('Error: the shelf is empty');
    expect(stack[1]).toMatch(/^at .*dev-log\.test\.ts:\d+/);
    expect(stack).toContain('TypeError: no shelf');
    expect(lines.at(-1)).toMatchObject({ event: 'response', status: 500, errorCode: 'internal_error' });
  });

  it.each([
    ['a refusal', { text: CANARY, breaks: 'refusal' }, 409, 'conflict'],
    ['what the database says', { text: CANARY, breaks: 'database' }, 500, 'Error 22P02'],
    ['a body that does not fit', { text: CANARY.repeat(10) }, 422, 'validation_failed'],
    ['a body that is no JSON', `{"text": ${CANARY}}`, 400, 'malformed_json'],
  ])('never quotes its body: %s', async (_what, body, status, head) => {
    const { lines, text } = await logOf(async (send) => expect((await send(body)).status).toBe(status));
    const [error] = lines.filter(({ event }) => event === 'error');
    expect(error?.stack).toEqual(expect.arrayContaining([head, expect.stringMatching(/^at /)]));
    expect(text).not.toContain('CANARY');
  });
});

describe('the file', () => {
  it('is named after the orchestrator, inside its folder whatever that is called', () => {
    const { path, close } = openDevLog({ folder, orchestratorId: '../../etc/o glm' });
    close();
    expect(path).toBe(join(folder, 'orch-.._.._etc_o_glm.log'));
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('goes on after a restart, and is put aside when it is large, five times', () => {
    for (let start = 0; start < 3; start++) {
      const { log, close } = openDevLog({ folder, orchestratorId: 'x', maxFileBytes: 1_000 });
      for (let n = 0; n < 40; n++) log.info({ event: 'line', n: start * 40 + n, filler: 'x'.repeat(40) });
      close();
      log.info({ event: 'after_close' });
    }
    const names = readdirSync(folder).sort();
    expect(names).toEqual(['orch-x.log', ...[1, 2, 3, 4, 5].map((age) => `orch-x.log.${age}`)]);
    for (const name of names) expect(statSync(join(folder, name)).size).toBeLessThanOrEqual(1_000);
    const numbers = [...names.slice(1).reverse(), 'orch-x.log'].flatMap((name) =>
      linesOf(readFileSync(join(folder, name), 'utf8')).map(({ n }) => n),
    );
    expect(numbers.at(-1)).toBe(119);
    expect(numbers).toEqual(numbers.map((_, index) => 120 - numbers.length + index));
  });

  it('fails nobody and writes into no other file when no new one can be made', () => {
    const inside = join(folder, 'inside');
    const { log, close } = openDevLog({ folder: inside, orchestratorId: 'x', maxFileBytes: 200 });
    log.info({ event: 'line', filler: 'x'.repeat(100) });
    rmSync(inside, { recursive: true });
    // As sockets and other files do, this takes the first number that is free.
    const others: number[] = [];
    try {
      for (let n = 0; n < 3; n++) {
        expect(() => log.info({ event: 'line', n, filler: 'x'.repeat(100) })).not.toThrow();
        others.push(openSync(join(folder, `other-${n}`), 'w'));
      }
      for (let n = 0; n < 3; n++) expect(readFileSync(join(folder, `other-${n}`), 'utf8')).toBe('');
    } finally {
      close();
      for (const other of others) closeSync(other);
    }
  });
});

describe('the server', () => {
  it('writes one when it is asked for by the environment, and none otherwise', async () => {
    const env = { DEV_LOGS_DIR: join(folder, 'logs'), ORCH_ID: 'o-7' };
    const silent = await startSystem({ worker: false, env });
    await silent.close();
    expect(readdirSync(folder)).toEqual([]);
    const system = await startSystem({ worker: false, env: { ...env, DEV_LOGS: 'on' } });
    await system.request('GET', '/auth/user');
    await system.close();
    const text = readFileSync(join(folder, 'logs', 'orch-o-7.log'), 'utf8');
    expect(linesOf(text).map(({ event, path }) => [event, path])).toEqual([
      ['request', '/v1/auth/login'],
      ['response', '/v1/auth/login'],
      ['request', '/auth/user'],
      ['response', '/auth/user'],
    ]);
    expect(text).not.toContain('Correct-Horse');
    expect(text).not.toContain(system.token());
  });
});
