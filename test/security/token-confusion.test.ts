/** Every class of token in every place where another class belongs. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { freshAddress } from '../support/second-factor.ts';
import { type System, startSystem } from '../support/system.ts';

const AGENT_TOKEN = 'the-shared-agent-token-of-this-test';
const classes = ['access', 'refresh', 'api', 'ticket', 'agent', 'enrolment', 'shared'] as const;
type TokenClass = (typeof classes)[number];

let system: System;
beforeAll(async () => {
  system = await startSystem({ worker: false, env: { AGENT_TOKEN, TRUST_PROXY_HOPS: '1' } });
});
afterAll(() => system.close());

/** A good token of the class, new each time: some places use it up. */
const mint: Record<TokenClass, () => Promise<string>> = {
  access: async () => (await login()).accessToken,
  refresh: async () => (await login()).refreshToken,
  api: async () => {
    const body = { name: 'x', scopes: ['read', 'tasks', 'decide', 'commands', 'agents', 'admin'] };
    return (await system.call<{ token: string }>('POST', '/v1/auth/tokens', body)).token;
  },
  ticket: async () => (await system.call<{ ticket: string }>('POST', '/v1/auth/tickets')).ticket,
  agent: async () => (await system.enrol()).agentToken,
  enrolment: async () =>
    (await system.call<{ enrolmentToken: string }>('POST', '/v1/agents/enrolments', {})).enrolmentToken,
  shared: async () => AGENT_TOKEN,
};

const login = () =>
  system.call<{ accessToken: string; refreshToken: string }>('POST', '/v1/auth/login', {
    username: 'admin',
    password: 'Correct-Horse-7',
  });

const post = async (path: string, body: unknown): Promise<number> => {
  // From elsewhere each time: an address may try a few wrong ones only.
  const headers = { 'content-type': 'application/json', 'x-forwarded-for': freshAddress() };
  const reply = await fetch(`${system.url}${path}`, { method: 'POST', body: JSON.stringify(body), headers });
  return reply.status;
};

/** `open`, or the code with which the server closes. */
function dial(path: string, headers: Record<string, string> = {}): Promise<string> {
  const socket = new WebSocket(`${system.url.replace('http', 'ws')}${path}`, { headers });
  return new Promise((resolve) => {
    const isAgent = path.startsWith('/v1/agent');
    socket.on('message', () => resolve('open'));
    // An agent speaks first: a bad hello is answered with a code of its own only to an agent.
    socket.on('open', () => isAgent && socket.send('{"type":"bad"}'));
    socket.on('close', (code) => resolve(isAgent && code === 4002 ? 'open' : String(code)));
    socket.on('error', () => {});
  }).finally(() => socket.terminate()) as Promise<string>;
}

interface Place {
  name: string;
  good: readonly TokenClass[];
  /** What a token of the wrong class gets, one of these. */
  refusals: readonly (number | string)[];
  accepted: number | string;
  put(token: string): Promise<number | string>;
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const statusOf = async (path: string, headers: Record<string, string>): Promise<number> =>
  (await fetch(`${system.url}${path}`, { headers })).status;

const places: Place[] = [
  ...['/v1/auth/me', '/me', '/auth/user', '/api/v1/auth/me'].map((path) => ({
    name: `Authorization of GET ${path}`,
    good: ['access', 'api'] as const,
    refusals: [401, 403],
    accepted: 200,
    put: (token: string) => statusOf(path, bearer(token)),
  })),
  {
    name: 'X-API-Key of GET /v1/tasks',
    good: ['access', 'api', 'shared'],
    refusals: [401, 403],
    accepted: 200,
    put: (token) => statusOf('/v1/tasks', { 'x-api-key': token }),
  },
  {
    name: 'the query of GET /v1/tasks',
    good: [],
    refusals: [401],
    accepted: 200,
    put: (token) => statusOf(`/v1/tasks?token=${token}&api_token=${token}&ticket=${token}`, {}),
  },
  {
    name: 'POST /v1/auth/refresh',
    good: ['refresh'],
    refusals: [401],
    accepted: 200,
    put: (refreshToken) => post('/v1/auth/refresh', { refreshToken }),
  },
  ...['/refresh-token', '/auth/refresh', '/api/v1/auth/refresh'].map((path) => ({
    name: `POST ${path}`,
    good: ['refresh'] as const,
    refusals: [401],
    accepted: 200,
    put: (refresh_token: string) => post(path, { refresh_token }),
  })),
  {
    name: 'POST /v1/agents/enrol',
    good: ['enrolment'],
    refusals: [401, 422], // An access token is longer than any of these.
    accepted: 201,
    put: (enrolmentToken) => post('/v1/agents/enrol', { enrolmentToken, hostname: 'x' }),
  },
  {
    name: 'the ticket of a socket',
    good: ['ticket'],
    refusals: ['1008'],
    accepted: 'open',
    put: (token) => dial(`/v1/events?ticket=${token}`),
  },
  {
    name: 'the token of a socket',
    good: ['access', 'api', 'shared'],
    refusals: ['1008'],
    accepted: 'open',
    put: (token) => dial(`/v1/events?token=${token}`),
  },
  {
    name: 'the socket of an agent',
    good: ['agent'],
    refusals: ['1008'],
    accepted: 'open',
    put: (token) => dial('/v1/agent', bearer(token)),
  },
  {
    name: 'the ticket of an agent’s socket',
    good: [],
    refusals: ['1008'],
    accepted: 'open',
    put: (token) => dial(`/v1/agent?ticket=${token}`),
  },
];

describe.each(places)('$name', ({ good, refusals, accepted, put }) => {
  it.each(classes)('%s', async (tokenClass) => {
    const got = await put(await mint[tokenClass]());
    if (good.includes(tokenClass)) expect(got).toBe(accepted);
    else expect(refusals).toContain(got);
  });
});

it('no token of any class is in a log line', async () => {
  const tokens = await Promise.all(classes.map((tokenClass) => mint[tokenClass]()));
  for (const { put } of places) for (const token of tokens) await put(token);
  const lines = JSON.stringify(system.lines);
  for (const token of tokens) expect(lines.includes(token)).toBe(false);
});
