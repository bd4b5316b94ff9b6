import type { Db } from '../../db/database.ts';
import type { DomainDeps } from '../../domain/deps.ts';

const nothing = (): void => undefined;
export const silentLog = { debug: nothing, info: nothing, warn: nothing, error: nothing };

/** Domain functions on this database; what they announce is lost, as after a crash right behind the commit. */
export const createTestDomain = (db: Db): DomainDeps => ({
  db,
  log: silentLog,
  announce: { events: nothing, agents: nothing, output: nothing, outbox: async () => undefined },
  limits: { defaultTimeoutMs: 30_000, maxTimeoutMs: 300_000, outputCapBytes: 1_000_000 },
});
