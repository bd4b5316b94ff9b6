/** Fleets of simulated agents (bench/processes/fleet-agents.ts), each fleet a process of its own. */
import { randomBytes, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import type pg from 'pg';
import { hashToken, tokenPrefixes } from '../../domain/identity/opaque-tokens.ts';
import type { Installation } from '../installation.ts';

/** What a fleet has seen since its last reset. */
export interface FleetCounts {
  connected: number;
  heartbeats: number;
  /** Connections begun; those that had their welcome; those that ended before it. */
  attempts: number;
  welcomes: number;
  failedAttempts: number;
  /** Connections that ended after their welcome without being asked. */
  lost: number;
  /** Commands begun. */
  runs: number;
}

export interface Fleet {
  agentIds: readonly string[];
  /** Resolves when all are connected. */
  connect(): Promise<FleetCounts>;
  /** All sockets are cut, all agents dial again at once. Resolves when all are connected. */
  storm(): Promise<FleetCounts & { ms: number; medianMs: number }>;
  stats(): Promise<FleetCounts>;
  reset(): Promise<FleetCounts>;
  disconnect(): Promise<FleetCounts>;
}

/**
 * Enrols `size` agents and starts their process. Agents and tokens are written to the database set by set, as enrolment
 * writes them: ten thousand requests would take minutes and measure enrolment.
 */
export async function startFleet(
  installation: Installation,
  client: pg.Client,
  { name, size }: { name: string; size: number },
): Promise<Fleet> {
  const identities = Array.from({ length: size }, (_, at) => ({
    agentId: `${name}-${at}-${randomUUID().slice(0, 8)}`,
    token: tokenPrefixes.agent + randomBytes(32).toString('base64url'),
  }));
  const agentIds = identities.map(({ agentId }) => agentId);
  await client.query('insert into agents (id, hostname) select id, id from unnest($1::text[]) as id', [
    agentIds,
  ]);
  await client.query(
    `insert into agent_tokens (id, agent_id, token_hash)
     select * from unnest($1::uuid[], $2::text[], $3::bytea[])`,
    [identities.map(() => randomUUID()), agentIds, identities.map(({ token }) => hashToken(token))],
  );
  const file = join(installation.home, `${name}.json`);
  await writeFile(file, JSON.stringify(identities));
  const match = await installation.startPeer(
    'fleet-agents',
    { FLEET_URL: installation.url, FLEET_FILE: file },
    /fleet_agents_ready (\d+)/,
  );
  const port = Number(match?.[1]);
  const order = <T extends FleetCounts>(path: string): Promise<T> =>
    new Promise((resolve, reject) => {
      // Not fetch: its patience for an answer is shorter than a storm may be.
      const asked = request({ host: '127.0.0.1', port, path: `/${path}` }, (reply) => {
        let text = '';
        reply.setEncoding('utf8').on('data', (part: string) => {
          text += part;
        });
        reply.on('end', () => resolve(JSON.parse(text) as T));
      });
      asked.on('error', reject).end();
    });
  return {
    agentIds,
    connect: () => order('connect'),
    storm: () => order('storm'),
    stats: () => order('stats'),
    reset: () => order('reset'),
    disconnect: () => order('disconnect'),
  };
}
