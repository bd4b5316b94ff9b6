/** Deps of the identity functions on a database of their own, with what they announced. */
import { parseConfig } from '../../config.ts';
import type { Principal, Role } from '../../contracts/principal.ts';
import { createRunningConfig, type RunningConfig } from '../../core/running-config.ts';
import { createDatabase, type Db } from '../../db/database.ts';
import type { EventRow } from '../../db/events.ts';
import type { Actor } from '../../domain/deps.ts';
import { ensureAdmin } from '../../domain/identity/admin.ts';
import type { IdentityDeps, IdentitySettings } from '../../domain/identity/deps.ts';
import { createPasswordHasher } from '../../domain/identity/passwords.ts';
import { createSecretBox } from '../../domain/secret-box.ts';
import { createTestDatabase } from './database.ts';

/** The lowest cost bcrypt knows: some milliseconds instead of a quarter of a second. */
const TEST_HASH_COST = 4;

export const adminPassword = 'Correct-Horse-7';
export const testKey = 'k'.repeat(32);
/** A Fernet key: 32 bytes in padded URL-safe base64. */
export const testFernetKey = `${Buffer.alloc(32, 'f').toString('base64url')}=`;
export const sharedAgentToken = 'shared-agent-token-0123456789';

export interface IdentityStack {
  deps: IdentityDeps;
  db: Db;
  /** The configuration with the stored settings over it. */
  running: RunningConfig;
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
  const secrets = createSecretBox([testFernetKey]);
  const silent = () => undefined;
  const log = { debug: silent, info: silent, warn: silent, error: silent };
  const env = {
    DATABASE_URL: database.url,
    TEMPORAL_ADDRESS: '127.0.0.1:1',
    SECRET_KEY: testKey,
    SETTINGS_ENCRYPTION_KEY: testFernetKey,
    AGENT_TOKEN: sharedAgentToken,
  };
  const running = createRunningConfig(parseConfig(env, { role: 'api' }), { db, secrets, log });
  const deps: IdentityDeps = {
    db,
    log,
    announce: {
      events: (rows) => void events.push(...rows),
      agents: silent,
      output: silent,
      outbox: async () => undefined,
    },
    limits: { defaultTimeoutMs: 30_000, maxTimeoutMs: 300_000, outputCapBytes: 1024 },
    passwords: createPasswordHasher({ cost: TEST_HASH_COST }),
    secrets,
    settings: running.port,
    identity: {
      secretKeys: [testKey],
      accessTokenTtlMs: null,
      agentToken: running.agentToken,
      configuredAgentToken: sharedAgentToken,
      registration: 'open',
      agentTokenAdmin: false,
      ...options.settings,
    },
  };
  await running.refresh();
  if (options.withAdmin !== false) {
    await ensureAdmin(deps, { username: 'admin', email: 'admin@example.org', password: adminPassword });
  }
  return {
    deps,
    db,
    running,
    events,
    async close() {
      await running.close();
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
