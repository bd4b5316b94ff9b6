/** One-time tickets: one connection each, within a minute, as the session that asked. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { openSse } from '../support/event-streams.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const AGENT_TOKEN = 'the-shared-agent-token-of-this-test';

let system: System;
beforeAll(async () => {
  system = await startSystem({ worker: false, env: { AGENT_TOKEN } });
});
afterAll(() => system.close());

interface Ticket {
  ticket: string;
  expiresAt: string;
}
const mint = async (token = system.token()): Promise<Ticket> =>
  system.call<Ticket>('POST', '/v1/auth/tickets', undefined, { token });

/** `open` once the socket has said it is ready, else the code with which it was closed. */
function dial(query: string): Promise<'open' | number> {
  const socket = new WebSocket(`${system.url.replace('http', 'ws')}/v1/events?${query}`);
  return new Promise((resolve) => {
    socket.on('message', () => {
      resolve('open');
      socket.terminate();
    });
    socket.on('error', () => {});
    socket.on('close', (code) => resolve(code));
  });
}

describe('a ticket', () => {
  it('lives a minute, is answered once and is kept as a hash', async () => {
    const reply = await system.request<Ticket>('POST', '/v1/auth/tickets');
    expect([reply.status, reply.headers.get('Cache-Control')]).toEqual([201, 'no-store']);
    expect(reply.body.ticket).toMatch(/^stk_[\w-]{43}$/);
    const left = Date.parse(reply.body.expiresAt) - Date.now();
    expect(left).toBeGreaterThan(50_000);
    expect(left).toBeLessThanOrEqual(61_000);
    const rows = await deskOf(system).sql<{ hash: string }>(
      `select encode(ticket_hash, 'escape') || encode(ticket_hash, 'hex') as hash from tickets`,
    );
    expect(rows.length).toBeGreaterThan(0);
    expect(JSON.stringify(rows)).not.toContain(reply.body.ticket);
  });

  it('opens one socket, and of twenty at once one', async () => {
    const { ticket } = await mint();
    const opened = await Promise.all(Array.from({ length: 20 }, () => dial(`ticket=${ticket}`)));
    expect(opened.filter((each) => each === 'open')).toHaveLength(1);
    expect(opened.filter((each) => each === 1008)).toHaveLength(19);
    expect(await dial(`ticket=${ticket}`)).toBe(1008);
  });

  it('opens one event stream, of any family of routes', async () => {
    const { ticket } = await mint();
    const url = `${system.url}/v1/events?ticket=${ticket}`;
    const stream = await openSse(url, {});
    expect(stream.response.status).toBe(200);
    stream.close();
    const again = await openSse(url, {});
    expect(again.response.status).toBe(401);
  });

  it('is no token: not in a header, not for a plain request, not for an agent', async () => {
    const { ticket } = await mint();
    const as = (path: string, headers: Record<string, string> = {}) =>
      fetch(`${system.url}${path}`, { headers }).then((reply) => reply.status);
    expect(await as('/v1/auth/me', { authorization: `Bearer ${ticket}` })).toBe(401);
    expect(await as('/v1/auth/me', { 'x-api-key': ticket })).toBe(401);
    expect(await as(`/v1/auth/me?ticket=${ticket}`)).toBe(401);
    expect(await as(`/v1/auth/me?ticket=${ticket}`, { accept: 'text/event-stream' })).toBe(401);
    expect(await as(`/v1/events?token=${ticket}`)).toBe(401);
    expect(await dial(`token=${ticket}`)).toBe(1008);
    // None of these has used it up.
    expect(await dial(`ticket=${ticket}`)).toBe('open');
  });

  it('is nobody else: an access token, a refresh token or nothing in its place', async () => {
    expect(await dial(`ticket=${system.token()}`)).toBe(1008);
    expect(await dial(`ticket=${AGENT_TOKEN}`)).toBe(1008);
    expect(await dial('ticket=stk_unknown')).toBe(1008);
    expect(await dial('ticket=')).toBe(1008);
  });

  it('expires', async () => {
    const { ticket } = await mint();
    await deskOf(system).sql('update tickets set expires_at = now() returning 1');
    expect(await dial(`ticket=${ticket}`)).toBe(1008);
  });

  it('dies with its session', async () => {
    const token = await deskOf(system).addUser('user', 'leaving-early');
    const { ticket } = await mint(token);
    expect((await system.request('POST', '/v1/auth/logout', undefined, { token })).status).toBe(204);
    expect(await dial(`ticket=${ticket}`)).toBe(1008);
  });

  it('holds the rights of the session, no more', async () => {
    const token = await deskOf(system).addUser('viewer', 'only-looking');
    const { ticket } = await mint(token);
    expect(await dial(`ticket=${ticket}`)).toBe('open');
  });

  it('is for people who are logged in', async () => {
    const { agentToken } = await system.enrol('ticketless');
    for (const [given, status] of [
      [AGENT_TOKEN, 403],
      [agentToken, 403],
      ['nothing', 401],
    ] as const) {
      const reply = await system.request('POST', '/v1/auth/tickets', undefined, { token: given });
      expect(reply.status).toBe(status);
    }
  });

  it('is in no log line, and its making is in the audit trail', async () => {
    const { ticket } = await mint();
    expect(await dial(`ticket=${ticket}`)).toBe('open');
    expect(await dial(`ticket=${ticket}`)).toBe(1008);
    await fetch(`${system.url}/v1/events?ticket=${ticket}`);
    expect(JSON.stringify(system.lines)).not.toContain(ticket);
    const [row] = await deskOf(system).sql<{ target_kind: string; principal_name: string }>(
      `select target_kind, principal_name from audit_events where action = 'ticket.create' order by id desc limit 1`,
    );
    expect(row).toEqual({ target_kind: 'session', principal_name: 'admin' });
  });
});
