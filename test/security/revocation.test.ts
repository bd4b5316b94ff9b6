/** What was taken away through the API, with a stream and a socket open: both end within five seconds (promise P8). */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { openSse } from '../support/event-streams.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const AGENT_TOKEN = 'the-shared-agent-token-of-this-test';
/** The promise, and what a busy machine may add. */
const DEADLINE_MS = 5_000 + 1_500;

let system: System;
beforeAll(async () => {
  system = await startSystem({ worker: false, env: { AGENT_TOKEN } });
});
afterAll(() => system.close());

interface Held {
  /** Milliseconds until both have ended, and how the socket was closed. */
  ended: Promise<{ ms: number; code: number }>;
}

/** An event stream and an event socket of this token (or of a ticket of it), both open. */
async function hold(token: string, { byTicket = false } = {}): Promise<Held> {
  const query = async (): Promise<string> => {
    if (!byTicket) return '';
    const { ticket } = await system.call<{ ticket: string }>('POST', '/v1/auth/tickets', undefined, {
      token,
    });
    return `?ticket=${ticket}`;
  };
  const headers: Record<string, string> = byTicket ? {} : { authorization: `Bearer ${token}` };
  const stream = await openSse(`${system.url}/v1/events${await query()}`, headers);
  expect(stream.response.status).toBe(200);
  await stream.until((events) => events.length > 0);
  const socket = new WebSocket(`${system.url.replace('http', 'ws')}/v1/events${await query()}`, { headers });
  const closed = new Promise<number>((resolve) => socket.once('close', resolve));
  await new Promise((resolve) => socket.once('message', resolve));
  return {
    ended: (async () => {
      const since = performance.now();
      const [code] = await Promise.all([closed, stream.ended]);
      return { ms: performance.now() - since, code };
    })(),
  };
}

async function userOf(name: string): Promise<{ id: string; token: string }> {
  const token = await deskOf(system).addUser('operator', name);
  const { id } = await system.call<{ id: string }>('GET', '/v1/auth/me', undefined, { token });
  return { id, token };
}

describe.each([false, true])('an operator with a stream and a socket (by ticket: %s)', (byTicket) => {
  const acts: [string, (user: { id: string; token: string }) => Promise<unknown>][] = [
    ['logs out', ({ token }) => system.call('POST', '/v1/auth/logout', undefined, { token })],
    ['is disabled', ({ id }) => system.call('PATCH', `/v1/users/${id}`, { isActive: false })],
    ['is made a viewer', ({ id }) => system.call('PUT', `/v1/users/${id}/role`, { role: 'viewer' })],
    ['gets a new password', ({ id }) => system.call('POST', `/v1/users/${id}/reset-password`, {})],
    ['is deleted', ({ id }) => system.call('DELETE', `/v1/users/${id}`)],
  ];
  it.each(acts)('%s', async (what, act) => {
    const user = await userOf(`${byTicket ? 'ticket' : 'token'} ${what}`.replaceAll(' ', '-'));
    const held = await hold(user.token, { byTicket });
    await act(user);
    expect((await system.request('GET', '/v1/tasks', undefined, { token: user.token })).status).toBe(401);
    const { ms, code } = await held.ended;
    expect(code).toBe(1008);
    expect(ms).toBeLessThan(DEADLINE_MS);
  });
});

describe('the shared agent token', () => {
  it('is replaced: what the old one opened ends', async () => {
    const held = await hold(AGENT_TOKEN);
    await system.call('POST', '/v1/system/agent-token/rotate', {});
    expect((await system.request('GET', '/v1/tasks', undefined, { token: AGENT_TOKEN })).status).toBe(401);
    const { ms, code } = await held.ended;
    expect(code).toBe(1008);
    expect(ms).toBeLessThan(DEADLINE_MS);
  });
});
