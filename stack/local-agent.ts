/** The agent of a development installation: who it is, and the one-time token it enrols with when it is nobody yet. */
import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type ApiClient, ApiError } from '../client/api-client.ts';
import { createEnrolmentRoute, getAgentRoute } from '../contracts/agent-routes.ts';

const identitySchema = z.object({ agentId: z.string().min(1) });

/** Id of the agent that enrolled from this home; null when none did. */
export function findAgentId(agentHome: string): string | null {
  try {
    return identitySchema.parse(JSON.parse(readFileSync(join(agentHome, 'agent.json'), 'utf8'))).agentId;
  } catch {
    return null;
  }
}

/**
 * Environment that makes the agent who it is. An identity the server no longer knows (another database, a revoked
 * agent) is set aside; an id that somebody else holds is not asked for.
 * @param api client of a principal that may enrol agents
 */
export async function prepareLocalAgent(
  api: ApiClient,
  { agentHome, agentId }: { agentHome: string; agentId: string },
): Promise<{ agentId: string; env: Record<string, string> }> {
  const stored = findAgentId(agentHome);
  if (stored !== null) {
    const status = await findStatus(api, stored);
    if (status !== null && status !== 'revoked') return { agentId: stored, env: {} };
    renameSync(join(agentHome, 'agent.json'), join(agentHome, 'agent.json.old'));
  }
  const isFree = (await findStatus(api, agentId)) === null;
  const wanted = isFree ? agentId : `${agentId}-${randomBytes(3).toString('hex')}`;
  const enrolment = await api.call(createEnrolmentRoute, {
    body: { label: `local agent ${wanted}`, tags: ['local'] },
  });
  return {
    agentId: wanted,
    env: { STEELTHREAD_AGENT_ID: wanted, STEELTHREAD_ENROL_TOKEN: enrolment.enrolmentToken },
  };
}

async function findStatus(api: ApiClient, agentId: string): Promise<string | null> {
  try {
    return (await api.call(getAgentRoute, { params: { agentId } })).status;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}
