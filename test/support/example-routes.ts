import { z } from 'zod';
import { type MountedRoute, mount } from '../../api/mount.ts';
import { problem } from '../../contracts/errors.ts';
import type { Family } from '../../contracts/families/family.ts';
import { bytes, defineRoute, empty, events, json } from '../../contracts/route.ts';

/** A small set of routes with everything the mould can do, for tests of the mould itself. */

const Widget = z
  .object({ id: z.string(), title: z.string(), size: z.int().nullable() })
  .meta({ id: 'Widget' });

const shared = { tags: ['widgets'], rateClass: 'read', resource: 'task' } as const;

const getWidget = defineRoute({
  ...shared,
  family: 'house',
  method: 'GET',
  path: '/v1/widgets/{widgetId}',
  summary: 'Read a widget',
  auth: 'user',
  verb: 'read',
  params: z.object({ widgetId: z.string() }),
  replies: { 200: json(Widget, { headers: { ETag: 'Version of the widget' } }), 304: empty() },
  errors: ['task_not_found'],
});

const listConnected = defineRoute({
  ...shared,
  family: 'house',
  method: 'GET',
  path: '/v1/widgets/connected',
  summary: 'List connected widgets',
  auth: 'any',
  verb: 'list',
  query: z.object({ limit: z.coerce.number().int().min(1).max(100).default(20), tag: z.string().optional() }),
  replies: { 200: z.object({ items: z.array(Widget), limit: z.int() }) },
});

const createWidget = defineRoute({
  ...shared,
  family: 'house',
  method: 'POST',
  path: '/v1/widgets',
  summary: 'Create a widget',
  auth: 'user',
  verb: 'create',
  body: z.strictObject({ title: z.string().min(1).max(20), size: z.int().nullable().default(null) }),
  bodyTypes: ['json', 'form'],
  replies: { 201: json(Widget, { headers: { Location: 'Where the widget is' } }) },
});

const output = defineRoute({
  ...shared,
  family: 'house',
  method: 'GET',
  path: '/v1/widgets/{widgetId}/output',
  summary: 'Read the bytes of a widget',
  auth: 'user',
  verb: 'read',
  params: z.object({ widgetId: z.string() }),
  replies: { 200: bytes() },
});

const stream = defineRoute({
  ...shared,
  family: 'house',
  method: 'GET',
  path: '/v1/widgets/events',
  summary: 'Follow widgets',
  auth: 'user',
  verb: 'read',
  query: z.object({ flood: z.stringbool().default(false) }),
  replies: { 200: events(Widget) },
});

const broken = defineRoute({
  ...shared,
  family: 'house',
  method: 'GET',
  path: '/v1/broken/{how}',
  summary: 'Break a promise',
  auth: 'public',
  verb: undefined,
  resource: undefined,
  errors: ['model_not_configured'],
  params: z.object({ how: z.enum(['extra', 'shape', 'undeclared', 'throw', 'status', 'lack']) }),
  replies: { 200: z.object({ ok: z.boolean() }) },
});

export function exampleRoutes(): MountedRoute[] {
  return [
    mount(getWidget, async ({ params, headers: _headers }) => {
      if (params.widgetId === 'none') throw problem('task_not_found', { taskId: params.widgetId });
      if (params.widgetId === 'same') return { status: 304, headers: { ETag: '"1"' } };
      const body = { id: params.widgetId, title: 'a widget', size: null };
      return { status: 200, headers: { ETag: '"1"' }, body };
    }),
    mount(listConnected, async ({ query }) => ({ status: 200, body: { items: [], limit: query.limit } })),
    mount(createWidget, async ({ body, idempotencyKey }) => {
      const id = idempotencyKey ?? 'new';
      return { status: 201, headers: { Location: `/v1/widgets/${id}` }, body: { id, ...body } };
    }),
    mount(output, async () => ({ status: 200, body: new Uint8Array([0, 255, 10, 0]) })),
    mount(stream, async ({ query, lastEventId }) => ({
      status: 200,
      keepAliveMs: 20,
      keepAliveText: 'heartbeat',
      stream: async (stream) => {
        stream.send({ id: '7', event: 'widget', data: { after: lastEventId } });
        stream.send({ data: 'two\nlines' });
        const line = 'x'.repeat(64 * 1024);
        while (query.flood && !stream.closed.aborted) {
          stream.send({ data: line });
          await new Promise((resolve) => setImmediate(resolve));
        }
        if (!stream.closed.aborted)
          await new Promise((resolve) => stream.closed.addEventListener('abort', resolve));
      },
    })),
    mount(broken, async ({ params }) => {
      const replies = {
        extra: { status: 200, body: { ok: true, secret: 'x' } },
        shape: { status: 200, body: { ok: 'yes' } },
        status: { status: 299, body: { ok: true } },
      };
      if (params.how === 'undeclared') throw problem('budget_exceeded', { scope: 'daily' });
      if (params.how === 'lack') throw problem('model_not_configured');
      if (params.how === 'throw') throw new Error('the database password is hunter2');
      return replies[params.how] as { status: 200; body: { ok: boolean } };
    }),
    ...familyPaths.flatMap(([family, path]) => familyRoutes(family, path)),
  ];
}

/** One path for each family under which the table test puts its routes. */
export const familyPaths = [
  ['house', '/v1/things'],
  ['ananta', '/tasks'],
  ['steel', '/api/v1/jobs'],
  ['dex', '/api/v1/agents'],
  ['alice', '/api/v1/chat/things'],
  ['dex-alice', '/api/v1/auth/things'],
] as const satisfies readonly (readonly [Family, string])[];

function familyRoutes(family: Family, path: `/${string}`): MountedRoute[] {
  const create = defineRoute({
    ...shared,
    family,
    method: 'POST',
    path,
    summary: 'Create a thing',
    auth: 'user',
    verb: 'create',
    body: z.strictObject({ title: z.string().min(1) }),
    replies: { 201: z.object({ title: z.string() }) },
    errors: ['agent_not_connected'],
    errorTexts:
      path === '/api/v1/jobs' ? { agent_not_connected: { message: 'Job {agentId} has no agent' } } : {},
  });
  return [
    mount(create, async ({ body }) => {
      if (body.title === 'boom') throw new Error('boom');
      if (body.title === 'away') throw problem('agent_not_connected', { agentId: 'a1' });
      return { status: 201, body };
    }),
  ];
}
