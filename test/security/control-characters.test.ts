/** Line breaks, escapes of terminals and invisible characters in every place of every route: none reaches log or trail. */
import { createConnection } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLogger } from '../../log.ts';
import { wholeText } from '../support/canaries.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const AGENT_TOKEN = 'the-shared-agent-token-of-this-test';
const NASTY =
  'x\r\n{"event":"forged"}\u0000\u001b[31m\u001b]0;t\u0007\u009b2J\u007f\u202e\u200b\u2028\u{E0041}y';
/** A body with NUL is refused before anybody reads it. */
const NASTY_TEXT = NASTY.replaceAll('\u0000', '');
/** All of the above. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u;

let system: System;
let viewer: string;

beforeAll(async () => {
  system = await startSystem({
    worker: false,
    env: { AGENT_TOKEN, REGISTRATION: 'open', TRUST_PROXY_HOPS: '1' },
  });
  viewer = await deskOf(system).addUser('viewer', 'looker');
});
afterAll(() => system.close());

interface Schema {
  properties?: Record<string, unknown>;
  anyOf?: Schema[];
  allOf?: Schema[];
  $ref?: string;
}
interface Operation {
  parameters?: { name: string; in: string }[];
  requestBody?: { content: Record<string, { schema: Schema }> };
}
interface Document {
  paths: Record<string, Record<string, Operation>>;
  components?: { schemas?: Record<string, Schema> };
}

function propertiesOf(document: Document, schema: Schema): string[] {
  const named = schema.$ref?.split('/').at(-1);
  if (named !== undefined) return propertiesOf(document, document.components?.schemas?.[named] ?? {});
  const parts = [...(schema.anyOf ?? []), ...(schema.allOf ?? [])];
  return [...Object.keys(schema.properties ?? {}), ...parts.flatMap((part) => propertiesOf(document, part))];
}

async function send(
  method: string,
  path: string,
  { parameters = [], requestBody }: Operation,
  document: Document,
  token: string | null,
  withExtra: boolean,
): Promise<number> {
  const url = path.replaceAll(/\{(\w+)\}/g, encodeURIComponent(NASTY));
  const query = new URLSearchParams(
    parameters.filter((one) => one.in === 'query').map(({ name }) => [name, NASTY] as [string, string]),
  );
  const schema = requestBody?.content['application/json']?.schema;
  const body = Object.fromEntries(
    (schema ? propertiesOf(document, schema) : []).map((name) => [name, NASTY_TEXT] as const),
  );
  const response = await fetch(`${system.url}${url}?${query}`, {
    method,
    signal: AbortSignal.timeout(10_000),
    headers: {
      // What HTTP lets a header hold: 0x9b is an escape of 8-bit terminals.
      'user-agent': 'x\u009b31m\u0085y',
      'x-request-id': 'x\u009b31m',
      'x-forwarded-for': '192.0.2.1, \u009b2J\u0090y',
      ...(withExtra ? { 'idempotency-key': 'x\u009b' } : {}),
      'last-event-id': 'x\u009b',
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(requestBody === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(requestBody === undefined
      ? {}
      : { body: JSON.stringify(withExtra ? { ...body, [NASTY_TEXT]: NASTY_TEXT } : body) }),
  });
  await response.body?.cancel();
  return response.status;
}

/** Bytes as they are: what no client would send. */
function sendRaw(bytes: string): Promise<void> {
  const { hostname, port } = new URL(system.url);
  return new Promise((resolve) => {
    const socket = createConnection(Number(port), hostname, () => socket.end(Buffer.from(bytes, 'latin1')));
    socket.on('data', () => undefined);
    socket.on('error', () => resolve());
    socket.on('close', () => resolve());
  });
}

it('is asked for in every route, by strangers, by somebody who may not, and by an administrator', async () => {
  // An agent says of itself what it likes.
  const { enrolmentToken } = await system.call<{ enrolmentToken: string }>(
    'POST',
    '/v1/agents/enrolments',
    {},
  );
  await system.request('POST', '/v1/agents/enrol', { enrolmentToken, hostname: NASTY_TEXT });
  // And what is left of a reason, in the words of somebody who may.
  const task = await system.call<{ id: string }>('POST', '/v1/tasks', { goal: NASTY_TEXT });
  await system.call('POST', `/v1/tasks/${task.id}/cancel`, { reason: NASTY_TEXT });
  const document = (await (await fetch(`${system.url}/openapi.json`)).json()) as Document;
  const operations = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item)
      .filter(([method]) => ['get', 'post', 'put', 'patch', 'delete'].includes(method))
      .map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
  );
  // What changes who the callers are comes last.
  const isEnding = ({ path, method }: { path: string; method: string }): boolean =>
    path.includes('logout') || path.includes('rotate') || (method === 'DELETE' && path.includes('sessions'));
  const ordered = [...operations.filter((one) => !isEnding(one)), ...operations.filter(isEnding)];
  const statuses = new Set<number>();
  for (const { path, method, operation } of ordered) {
    for (const token of [null, 'bad', viewer, system.token()]) {
      const status = await send(method, path, operation, document, token, token === 'bad');
      statuses.add(status);
      expect(status, `${method} ${path}`).not.toBe(500);
    }
  }
  for (const raw of [
    'GET /v1/\u001b[31m HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /v1/x\u009b HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /v1/tasks HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\u001b[31m\r\n\r\n',
    'GET /v1/tasks HTTP/1.1\r\nHost: x\u001b\r\nAuthorization: Bearer \u009b\r\n\r\n',
    'GET /v1/events HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: \u009b\r\n\r\n',
    '\u001b[31m\r\n\r\n',
  ]) {
    await sendRaw(raw);
  }
  for (const status of [200, 401, 403, 422]) expect(statuses).toContain(status);
});

it('and stands in no row of the audit trail', async () => {
  const { rows } = await system.api.parts.db.raw<{ rows: { line: string }[] }>(
    `select concat_ws('|', principal_id, principal_name, address, request_id, target_id, details) as line
     from audit_events`,
  );
  expect(rows.length).toBeGreaterThan(30);
  // Escapes of JSON inside details count as the characters they stand for.
  const found = rows.filter(
    ({ line }) => UNSEEN.test(line) || /\\(u00[01]|u007f|u009|r|n|u20|t)/i.test(line),
  );
  expect(found).toEqual([]);
  expect(rows.some(({ line }) => line.includes('␛[31m'))).toBe(true);
});

it('and in no line of the log, for machines or for people', () => {
  expect(system.lines.length).toBeGreaterThan(200);
  expect(system.lines.some((line) => wholeText(line).includes('%1B%5B31m'))).toBe(true);
  for (const format of ['json', 'pretty'] as const) {
    const written: string[] = [];
    const log = createLogger({
      name: 'api',
      level: 'debug',
      format,
      stream: { write: (line) => written.push(line) },
    });
    for (const { level, ...fact } of system.lines) log[level as 'info'](fact);
    const lines = written.join('').split('\n');
    expect(lines.filter((line) => UNSEEN.test(line))).toEqual([]);
    expect(lines.filter((line) => line.startsWith('{"event":"forged"'))).toEqual([]);
    if (format === 'json') expect(lines.filter((line) => line !== '')).toHaveLength(system.lines.length);
  }
});
