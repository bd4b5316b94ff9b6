import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Family } from '../../contracts/families/family.ts';
import { familyOfPath } from '../../contracts/families/family.ts';
import { exampleRoutes, familyPaths } from '../support/example-routes.ts';
import { asUser, sendJson, startTestServer, type TestServer } from '../support/http.ts';

/** One table: what each family answers to each refusal, byte for byte (time and correlation id are replaced). */

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({ routes: exampleRoutes() });
});
afterAll(() => server.close());

interface Expected {
  status: number;
  body: unknown;
  headers?: Record<string, string>;
}

async function answer(response: Response): Promise<Expected> {
  const body = JSON.parse((await response.text()).replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<time>'));
  return { status: response.status, body };
}

const requestId = 'cid-1';

function post(path: string, init: RequestInit): Promise<Response> {
  return server.fetch(path, { ...init, headers: { ...init.headers, 'X-Correlation-ID': requestId } });
}

const refusals = {
  validation: (path: string) => post(path, sendJson({ title: '', colour: 'red' })),
  malformed: (path: string) => post(path, sendJson('{"title":"a","title":"b"}')),
  unauthorized: (path: string) => post(path, sendJson({ title: 'x' }, {})),
  invalidToken: (path: string) => post(path, sendJson({ title: 'x' }, { Authorization: 'Bearer nonsense' })),
  forbidden: (path: string) => post(path, sendJson({ title: 'x' }, { Authorization: 'Bearer agent:a1' })),
  mediaType: (path: string) =>
    post(path, { method: 'POST', body: '<a/>', headers: { ...asUser, 'Content-Type': 'text/xml' } }),
  tooLarge: (path: string) => post(path, sendJson({ title: 'x'.repeat(1024 * 1024) })),
  method: (path: string) => post(path, { method: 'DELETE', headers: asUser }),
  away: (path: string) => post(path, sendJson({ title: 'away' })),
  fault: (path: string) => post(path, sendJson({ title: 'boom' })),
  unknown: (path: string) => post(`${path}/no/such/route`, { method: 'GET', headers: asUser }),
};
type Refusal = keyof typeof refusals;

const twice = 'The body is not acceptable JSON: the key "title" is there twice';
const large = 'The body is larger than 1048576 bytes';
const media = 'Send the body as application/json';
const issues = [
  {
    loc: ['body', 'title'],
    msg: 'Too small: expected string to have >=1 characters',
    type: 'string_too_short',
  },
  { loc: ['body', 'colour'], msg: 'Extra inputs are not permitted', type: 'extra_forbidden' },
];

function house(status: number, code: string, title: string, detail: string, more: object = {}): Expected {
  const retryable = status >= 500 || code === 'agent_not_connected';
  const instance = '/v1/things';
  const type = `urn:steelthread:error:${code}`;
  return { status, body: { type, title, status, detail, instance, code, retryable, requestId, ...more } };
}
const ananta = (status: number, message: string, data?: object): Expected => ({
  status,
  body: { status: 'error', message, ...(data && { data }) },
});
function steel(
  status: number,
  message: string,
  type = 'http_exception',
  detail: unknown = message,
): Expected {
  return {
    status,
    body: { error: { type, code: status, message, path: '/api/v1/jobs', method: 'POST' }, detail },
  };
}
const dexBody = (message: string, code: string, detail: unknown = message) => ({
  success: false,
  error: message,
  code,
  details: {},
  detail,
});
const dex = (status: number, message: string, code: string, detail: unknown = message): Expected => ({
  status,
  body: dexBody(message, code, detail),
});
const aliceBody = (path: string, code: string, detail: unknown) => ({
  detail,
  code,
  timestamp: '<time>',
  path,
});
const alice = (status: number, code: string, detail: unknown): Expected => ({
  status,
  body: aliceBody('/api/v1/chat/things', code, detail),
});
const both = (status: number, code: string, message: string, detail: unknown = message): Expected => ({
  status,
  body: { ...dexBody(message, code, detail), ...aliceBody('/api/v1/auth/things', code, detail) },
});

const table: Record<Family, Record<Refusal, Expected>> = {
  house: {
    validation: house(
      422,
      'validation_failed',
      'Validation failed',
      'The request does not match its schema',
      {
        errors: [
          { pointer: '/title', in: 'body', message: 'Too small: expected string to have >=1 characters' },
          { pointer: '/colour', in: 'body', message: 'Extra inputs are not permitted' },
        ],
      },
    ),
    malformed: house(400, 'malformed_json', 'Malformed JSON', twice),
    unauthorized: house(401, 'unauthorized', 'Unauthorized', 'Authentication is required'),
    invalidToken: house(401, 'invalid_token', 'Invalid token', 'The token is invalid, expired or revoked'),
    forbidden: house(403, 'forbidden', 'Forbidden', 'You may not do this'),
    mediaType: house(415, 'unsupported_media_type', 'Unsupported media type', media),
    tooLarge: house(413, 'body_too_large', 'Body too large', large),
    method: house(405, 'method_not_allowed', 'Method not allowed', 'Method Not Allowed'),
    away: house(409, 'agent_not_connected', 'Agent not connected', 'Agent a1 is not connected'),
    fault: house(500, 'internal_error', 'Internal error', 'Internal server error'),
    unknown: house(404, 'not_found', 'Not found', 'Not Found', { instance: '/v1/things/no/such/route' }),
  },
  ananta: {
    validation: ananta(422, 'validation_failed', { details: issues, cid: requestId }),
    malformed: ananta(400, 'malformed_json', { details: twice, cid: requestId }),
    unauthorized: ananta(401, 'unauthorized', { details: 'Missing Authorization (header or token param)' }),
    invalidToken: ananta(401, 'unauthorized', { details: 'Invalid token' }),
    forbidden: ananta(403, 'forbidden', { details: 'Admin privileges required' }),
    mediaType: ananta(415, 'unsupported_media_type', { details: media, cid: requestId }),
    tooLarge: ananta(413, 'body_too_large', { details: large, cid: requestId }),
    method: ananta(405, 'method_not_allowed', { cid: requestId }),
    away: ananta(409, 'agent_not_connected'),
    fault: ananta(500, 'internal_error', { cid: requestId }),
    unknown: ananta(404, 'not_found', { cid: requestId }),
  },
  steel: {
    validation: steel(422, 'Validation error', 'validation_error', issues),
    malformed: steel(400, twice),
    unauthorized: steel(401, 'Not authenticated'),
    invalidToken: steel(401, 'Could not validate credentials'),
    forbidden: steel(403, 'Not enough permissions'),
    mediaType: steel(415, media),
    tooLarge: steel(413, large),
    method: {
      status: 405,
      body: {
        error: {
          type: 'http_exception',
          code: 405,
          message: 'Method Not Allowed',
          path: '/api/v1/jobs',
          method: 'DELETE',
        },
        detail: 'Method Not Allowed',
      },
    },
    away: steel(409, 'Job a1 has no agent'),
    fault: steel(500, 'Internal Server Error', 'internal_server_error'),
    unknown: {
      status: 404,
      body: {
        error: {
          type: 'http_exception',
          code: 404,
          message: 'Not Found',
          path: '/api/v1/jobs/no/such/route',
          method: 'GET',
        },
        detail: 'Not Found',
      },
    },
  },
  dex: {
    validation: dex(422, 'Validation error', 'VALIDATION_ERROR', issues),
    malformed: dex(400, twice, 'MALFORMED_JSON'),
    unauthorized: dex(401, 'Authorization header required', 'UNAUTHORIZED'),
    invalidToken: dex(401, 'Could not validate credentials', 'INVALID_TOKEN'),
    forbidden: dex(403, 'You may not do this', 'FORBIDDEN'),
    mediaType: dex(415, media, 'UNSUPPORTED_MEDIA_TYPE'),
    tooLarge: dex(413, large, 'BODY_TOO_LARGE'),
    method: dex(405, 'Method Not Allowed', 'METHOD_NOT_ALLOWED'),
    away: dex(400, 'Agent is not connected', 'AGENT_NOT_CONNECTED'),
    fault: dex(500, 'Internal server error', 'INTERNAL_ERROR'),
    unknown: dex(404, 'Not Found', 'NOT_FOUND'),
  },
  alice: {
    validation: alice(422, 'VALIDATION_ERROR', issues),
    malformed: alice(400, 'MALFORMED_JSON', twice),
    unauthorized: alice(401, 'UNAUTHORIZED', 'Not authenticated'),
    invalidToken: alice(401, 'UNAUTHORIZED', 'Could not validate credentials'),
    forbidden: alice(403, 'FORBIDDEN', 'You may not do this'),
    mediaType: alice(415, 'UNSUPPORTED_MEDIA_TYPE', media),
    tooLarge: alice(413, 'BODY_TOO_LARGE', large),
    method: alice(405, 'METHOD_NOT_ALLOWED', 'Method Not Allowed'),
    away: alice(409, 'AGENT_NOT_CONNECTED', 'Agent a1 is not connected'),
    fault: alice(500, 'INTERNAL_ERROR', 'Internal server error'),
    unknown: { status: 404, body: aliceBody('/api/v1/chat/things/no/such/route', 'NOT_FOUND', 'Not Found') },
  },
  'dex-alice': {
    validation: both(422, 'VALIDATION_ERROR', 'The request does not match its schema', issues),
    malformed: both(400, 'MALFORMED_JSON', twice),
    unauthorized: both(401, 'UNAUTHORIZED', 'Not authenticated'),
    invalidToken: both(401, 'UNAUTHORIZED', 'Could not validate credentials'),
    forbidden: both(403, 'FORBIDDEN', 'You may not do this'),
    mediaType: both(415, 'UNSUPPORTED_MEDIA_TYPE', media),
    tooLarge: both(413, 'BODY_TOO_LARGE', large),
    method: both(405, 'METHOD_NOT_ALLOWED', 'Method Not Allowed'),
    away: both(409, 'AGENT_NOT_CONNECTED', 'Agent a1 is not connected'),
    fault: both(500, 'INTERNAL_ERROR', 'Internal server error'),
    unknown: {
      status: 404,
      body: {
        ...dexBody('Not Found', 'NOT_FOUND'),
        ...aliceBody('/api/v1/auth/things/no/such/route', 'NOT_FOUND', 'Not Found'),
      },
    },
  },
};

describe.each(familyPaths)('%s', (family, path) => {
  test.each(Object.keys(refusals) as Refusal[])('%s', async (refusal) => {
    const response = await refusals[refusal](path);
    const found = await answer(response);
    expect(found).toEqual({ status: table[family][refusal].status, body: table[family][refusal].body });

    const type = family === 'house' ? 'application/problem+json' : 'application/json';
    expect(response.headers.get('Content-Type')).toContain(type);
    expect(response.headers.get('WWW-Authenticate')).toBe(found.status === 401 ? 'Bearer' : null);
    expect(response.headers.get('Allow')).toBe(found.status === 405 ? 'OPTIONS, POST' : null);
    expect(response.headers.get('X-Request-Id')).toBe(requestId);
  });

  test('answers a problem when the client asks for it, with the status of the family', async () => {
    const headers = { ...asUser, Accept: 'application/problem+json, application/json;q=0.5' };
    const response = await post(path, sendJson({ title: 'away' }, headers));
    expect(response.headers.get('Content-Type')).toContain('application/problem+json');
    expect(response.status).toBe(table[family].away.status);
    expect(await response.json()).toMatchObject({
      code: 'agent_not_connected',
      status: response.status,
      requestId,
    });
  });
});

test('while the server stops, every family says so in its own words', async () => {
  const stopping = await startTestServer({ routes: exampleRoutes() });
  try {
    stopping.shutdown();
    const bodies = await Promise.all(
      familyPaths.map(async ([family, path]) => {
        const response = await stopping.fetch(path, sendJson({ title: 'x' }));
        expect(response.status).toBe(503);
        expect(response.headers.get('Retry-After')).toBe('5');
        return [family, await response.json()];
      }),
    );
    expect(Object.fromEntries(bodies)).toMatchObject({
      house: { code: 'shutdown_in_progress', retryable: true },
      ananta: { status: 'shutdown_in_progress' },
      steel: { error: { code: 503 }, detail: 'The server is shutting down' },
      dex: { success: false, code: 'SHUTDOWN_IN_PROGRESS' },
      alice: { code: 'SHUTDOWN_IN_PROGRESS' },
      'dex-alice': { success: false, code: 'SHUTDOWN_IN_PROGRESS' },
    });
    expect((await stopping.fetch('/livez')).status).toBe(200);
  } finally {
    await stopping.close();
  }
});

test.each([
  ['/tasks/1', 'ananta'],
  ['/tasksx', 'steel'],
  ['/api/v1/auth/login', 'dex-alice'],
  ['/auth/login', 'steel'],
  ['/api/auth/login', 'ananta'],
  ['/ws', 'steel'],
  ['/ws/terminal', 'ananta'],
  ['/api/v1/ws/agent', 'dex'],
  ['/websocket/send/a/command', 'dex'],
  ['/api/v1/connected', 'dex'],
  ['/api/v1/chat/message', 'alice'],
  ['/api/v1/events/tail', 'steel'],
  ['/v1/tasks', 'house'],
  ['/api/v1/unheard-of', 'steel'],
  ['/', 'steel'],
] as const)('%s speaks %s', (path, family) => {
  expect(familyOfPath(path, 'steel')).toBe(family);
});
