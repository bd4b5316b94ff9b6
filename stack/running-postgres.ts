import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isProcessAlive } from './lock.ts';
import { clusterUrl, POSTGRES_DATABASE } from './postgres-cluster.ts';

/**
 * The address of the server of our own that runs with the data in `<homeDir>/postgres`, as its own pid file tells it
 * (line 1 its process, line 4 its port). null: none runs there, or its files are not for this user to read.
 */
export function findRunningPostgres(homeDir: string): string | null {
  const folder = join(homeDir, 'postgres');
  try {
    const [pid, , , port] = readFileSync(join(folder, 'data', 'postmaster.pid'), 'utf8')
      .split('\n')
      .map(Number);
    if (!pid || !port || !isProcessAlive(pid)) return null;
    const password = readFileSync(join(folder, 'secrets', 'password'), 'utf8').trim();
    return clusterUrl({ password, port, database: POSTGRES_DATABASE });
  } catch {
    return null;
  }
}
