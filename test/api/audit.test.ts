import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { auditRoutes } from '../../api/routes/v1/audit.ts';
import type { AuditEventView } from '../../contracts/audit.ts';
import { insertAuditEvents } from '../../db/audit-events.ts';
import { analyzeAudit } from '../../domain/audit/analyze.ts';
import { listAuditEvents, MAX_AUDIT_OFFSET } from '../../domain/audit/read.ts';
import { verifyExport } from '../../domain/audit/verify-export.ts';
import { can } from '../../domain/policy.ts';
import { auditEntryOf, sealAll } from '../support/audit.ts';
import { startTestServer, type TestServer } from '../support/http.ts';
import { actorOf, type IdentityStack, startIdentity } from '../support/identity.ts';

let stack: IdentityStack;
let server: TestServer;

beforeAll(async () => {
  stack = await startIdentity({ withAdmin: false });
  server = await startTestServer({
    routes: auditRoutes(stack.deps),
    authenticate: async ({ headers }) => {
      const role = headers.authorization === 'Bearer admin' ? 'admin' : 'operator';
      return actorOf(role).principal;
    },
    can,
  });
  await insertAuditEvents(
    stack.db,
    Array.from({ length: 120 }, (_, i) =>
      auditEntryOf(i % 2 === 0 ? 'ada' : 'bob', {
        action: i % 3 === 0 ? 'task.create' : 'task.cancel',
        outcome: i % 10 === 0 ? 'denied' : 'success',
        address: `192.0.2.${i % 4}`,
        requestId: `request-${i}`,
        targetKind: 'task',
        targetId: `task-${i}`,
        details: { i },
      }),
    ),
  );
  await sealAll(stack.db, 50);
});
afterAll(async () => {
  await server.close();
  await stack.close();
});

interface Page {
  items: AuditEventView[];
  nextCursor: string | null;
  code?: string;
}

async function get(query: string, token = 'admin'): Promise<{ status: number; body: Page }> {
  const response = await server.fetch(`/v1/audit${query}`, { headers: { Authorization: `Bearer ${token}` } });
  return { status: response.status, body: (await response.json()) as Page };
}

/** Only the rows written above. */
const ours = 'action=task.';

describe('GET /v1/audit', () => {
  it('shows a row as it is stored, with its place in the seals', async () => {
    const { status, body } = await get('?requestId=request-6');
    expect(status).toBe(200);
    expect(body).toEqual({
      items: [
        {
          id: expect.stringMatching(/^\d+$/),
          at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
          principal: { kind: 'user', id: 'ada', name: 'ada' },
          sessionId: null,
          address: '192.0.2.2',
          requestId: 'request-6',
          action: 'task.create',
          target: { kind: 'task', id: 'task-6' },
          outcome: 'success',
          details: { i: 6 },
          seal: { no: 1, position: 7 },
        },
      ],
      nextCursor: null,
    });
  });

  it('pages from the newest to the oldest, each row once', async () => {
    const seen: string[] = [];
    let cursor = '';
    for (;;) {
      const { body } = await get(`?${ours}&limit=50${cursor}`);
      seen.push(...body.items.map((item) => item.target.id));
      if (body.nextCursor === null) break;
      cursor = `&cursor=${body.nextCursor}`;
    }
    expect(seen).toEqual(Array.from({ length: 120 }, (_, i) => `task-${119 - i}`));
  });

  it.each([
    ['principal=ada', 60],
    ['principal=ada&outcome=denied', 12],
    ['action=task.create', 40],
    ['address=192.0.2.3', 30],
    ['targetKind=task&targetId=task-7', 1],
    ['outcome=failed', 0],
    [`from=${encodeURIComponent(new Date(Date.now() + 60_000).toISOString())}`, 0],
    [`to=${encodeURIComponent(new Date(Date.now() - 3_600_000).toISOString())}`, 0],
  ])('narrows by %s', async (query, count) => {
    const all = query.startsWith('action') ? query : `${query}&${ours}`;
    expect((await get(`?${all}&limit=200`)).body.items).toHaveLength(count);
  });

  it.each([
    ['?outcome=maybe', 'validation_failed'],
    ['?from=yesterday', 'validation_failed'],
    ['?limit=201', 'validation_failed'],
    ['?action=%25', 'validation_failed'],
    ['?unknown=1', 'validation_failed'],
    ['?cursor=rubbish', 'invalid_cursor'],
    [`?cursor=${Buffer.from('[1,"99999999999999999999"]').toString('base64url')}`, 'invalid_cursor'],
    [`?cursor=${Buffer.from('[1,"x"]').toString('base64url')}`, 'invalid_cursor'],
  ])('refuses %s', async (query, code) => {
    expect(await get(query)).toMatchObject({ status: 422, body: { code } });
  });

  it('is for administrators', async () => {
    expect((await get('', 'operator')).status).toBe(403);
    expect((await get('/export', 'operator')).status).toBe(403);
    const operator = actorOf('operator');
    await expect(listAuditEvents(stack.deps, operator, { limit: 1, offset: 0 })).rejects.toThrow(/may not/);
    await expect(analyzeAudit(stack.deps, operator)).rejects.toThrow(/may not/);
  });
});

describe('GET /v1/audit/export', () => {
  it('downloads lines that can be checked elsewhere, and is itself in the trail', async () => {
    const response = await server.fetch('/v1/audit/export', { headers: { Authorization: 'Bearer admin' } });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toMatch(/^application\/x-ndjson/);
    expect(response.headers.get('content-disposition')).toContain('steelthread-audit.jsonl');
    expect(response.headers.get('cache-control')).toBe('no-store');
    const lines = (await response.text()).split('\n');
    const verdict = await verifyExport(
      (async function* () {
        yield* lines;
      })(),
    );
    expect(verdict).toMatchObject({ ok: true, seals: 3, rows: 120 });
    const { body } = await get('?action=audit.export');
    expect(body.items[0]).toMatchObject({
      principal: { id: 'admin-1' },
      details: { filter: { afterSeal: 0 } },
      outcome: 'success',
    });
  });
});

describe('for clients that page by offset', () => {
  const admin = actorOf('admin');

  it('lists what they know of a row', async () => {
    const [all, skipped] = await Promise.all([
      listAuditEvents(stack.deps, admin, { limit: 10, offset: 0 }),
      listAuditEvents(stack.deps, admin, { limit: 5, offset: 3 }),
    ]);
    expect(skipped).toEqual(all.slice(3, 8));
    const row = all.find(({ action }) => action === 'task.cancel');
    expect(row).toEqual({
      id: expect.any(Number),
      at: expect.any(Date),
      username: expect.stringMatching(/ada|bob/),
      ip: expect.stringMatching(/^192\.0\.2\./),
      action: 'task.cancel',
      details: {
        i: expect.any(Number),
        outcome: expect.any(String),
        target: expect.stringMatching(/^task:task-/),
      },
    });
  });

  it('cuts what is beyond its limits', async () => {
    expect(await listAuditEvents(stack.deps, admin, { limit: 0, offset: -5 })).toHaveLength(1);
    expect(await listAuditEvents(stack.deps, admin, { limit: 9, offset: MAX_AUDIT_OFFSET + 1 })).toEqual([]);
  });
});

describe('the analysis', () => {
  it('says what stands out, the gravest first, and nothing where nothing does', async () => {
    const admin = actorOf('admin');
    const quiet = await analyzeAudit(stack.deps, admin, { before: new Date(Date.now() - 48 * 3_600_000) });
    expect(quiet.analysis).toBe(
      '0 audit events in the last 24 hours: none.\nNothing in them calls for attention.',
    );
    const failure = { action: 'auth.login', outcome: 'failed', address: '198.51.100.9' } as const;
    await insertAuditEvents(stack.db, [
      ...Array.from({ length: 12 }, () =>
        auditEntryOf('unknown', { ...failure, details: { reason: 'invalid_credentials' } }),
      ),
      auditEntryOf('ada', { ...failure, details: { reason: 'account_locked' } }),
      auditEntryOf('ada', { action: 'auth.refresh_reuse', outcome: 'denied' }),
      auditEntryOf('root', { action: 'user.create' }),
    ]);
    const { analysis, findings, events } = await analyzeAudit(stack.deps, admin);
    expect(events).toBeGreaterThanOrEqual(135);
    const severities = findings.map(({ severity }) => severity);
    expect(severities).toEqual([...severities].sort());
    expect(analysis).toContain('Alert: 1 refresh tokens were used again');
    expect(analysis).toContain('Alert: 1 logins met a locked account.');
    expect(analysis).toContain('Alert: many failed logins from 198.51.100.9 (13).');
    expect(analysis).toContain('Alert: many refusals of ada (13).');
    expect(analysis).toContain('Notice: 13 failed logins (invalid_credentials (12), account_locked (1)).');
    expect(analysis).toMatch(/Notice: changes to accounts, keys and settings: .*user\.create \(1\)/);
  });
});
