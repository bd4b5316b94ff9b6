/** Deps of the identity functions on a database of their own, with what they announced. */
import type { Principal, Role } from '../../contracts/principal.ts';
import { createDatabase, type Db } from '../../db/database.ts';
import type { EventRow } from '../../db/events.ts';
import type { Actor } from '../../domain/deps.ts';
import { ensureAdmin } from '../../domain/identity/admin.ts';
import type { IdentityDeps, IdentitySettings } from '../../domain/identity/deps.ts';
import { createPasswordHasher } from '../../domain/identity/passwords.ts';
import { createTestDatabase } from './database.ts';

/** The lowest cost bcrypt knows: some milliseconds instead of a quarter of a second. */
const TEST_HASH_COST = 4;

export const adminPassword = 'Correct-Horse-7';
export const testKey = 'k'.repeat(32);
export const sharedAgentToken = 'shared-agent-token-0123456789';

export interface IdentityStack {
  deps: IdentityDeps;
  db: Db;
  /** Events announced after commits, oldest first. */
  events: EventRow[];
  close(): Promise<void>;
}

/** With the administrator `admin` (password: adminPassword) unless `withAdmin` is false. */
export async function startIdentity(
  options: { settings?: Partial<IdentitySettings>; withAdmin?: boolean; poolMax?: number } = {},
): Promise<IdentityStack> {
  const database = await createTestDatabase();
  const db = createDatabase({
    url: database.url,
    poolMax: options.poolMax ?? 20,
    applicationName: 'test-identity',
  });
  const events: EventRow[] = [];
  const silent = () => undefined;
  const deps: IdentityDeps = {
    db,
    log: { debug: silent, info: silent, warn: silent, error: silent },
    announce: {
      events: (rows) => void events.push(...rows),
      agents: silent,
      output: silent,
      outbox: async () => undefined,
    },
    limits: { defaultTimeoutMs: 30_000, maxTimeoutMs: 300_000, outputCapBytes: 1024 },
    passwords: createPasswordHasher({ cost: TEST_HASH_COST }),
    identity: {
      secretKeys: [testKey],
      accessTokenTtlMs: 15 * 60 * 1000,
      agentToken: sharedAgentToken,
      agentTokenAdmin: false,
      ...options.settings,
    },
  };
  if (options.withAdmin !== false) {
    await ensureAdmin(deps, { username: 'admin', email: 'admin@example.org', password: adminPassword });
  }
  return {
    deps,
    db,
    events,
    async close() {
      await db.destroy();
      await database.drop();
    },
  };
}

export const testOrigin = { address: '192.0.2.7', requestId: 'request-1', userAgent: 'test' };

export function actorOf(role: Role, id: string = `${role}-1`): Actor {
  const kind = role === 'agent' || role === 'system' ? role : 'user';
  const principal: Principal = { kind, id, name: id, roles: [role], sessionId: null };
  return { principal, address: testOrigin.address, requestId: testOrigin.requestId };
}

/** Audit rows of an action, oldest first. */
export async function readAudit(
  db: Db,
  action: string,
): Promise<
  {
    principal_id: string;
    target_id: string;
    outcome: string;
    address: string;
    details: Record<string, unknown>;
  }[]
> {
  return db('audit_events')
    .select('principal_id', 'target_id', 'outcome', 'address', 'details')
    .where({ action })
    .orderBy('id');
}
