/** Who a rollout is for: asked once, when it is created. */
import { problem } from '../../contracts/errors.ts';
import { MAX_ROLLOUT_TARGETS, type RolloutAgents } from '../../contracts/rollouts.ts';
import type { Queryable } from '../../db/database.ts';
import { listUsableAgents } from '../../db/rollout-targets.ts';
import type { RolloutSelection } from '../../db/rollouts.ts';
import { conditionOfTags, parseTagExpression } from '../agents/tag-expression.ts';
import { type BatchAgent, getBatchAgents } from '../commands/agents.ts';

/**
 * Named agents in the order they are named, others by id. Those that were revoked are none, unless they are named.
 * @throws agent_not_found, agent_revoked, validation_failed (the expression), conflict (none, or too many)
 */
export async function selectAgents(
  db: Queryable,
  wish: RolloutAgents,
): Promise<{ agents: BatchAgent[]; selection: RolloutSelection }> {
  if ('ids' in wish) {
    return { agents: await getBatchAgents(db, wish.ids), selection: { by: 'ids', tags: null } };
  }
  const tags = 'tags' in wish ? wish.tags : null;
  if (tags !== null) parseTagExpression(tags, { in: 'body', path: ['agents', 'tags'] });
  const condition = tags === null ? undefined : conditionOfTags(tags);
  const agents = await listUsableAgents(db, condition, MAX_ROLLOUT_TARGETS + 1);
  if (agents.length === 0) throw problem('conflict', { reason: 'no agent is selected' });
  if (agents.length > MAX_ROLLOUT_TARGETS) {
    throw problem('conflict', { reason: `more than ${MAX_ROLLOUT_TARGETS} agents are selected` });
  }
  return { agents, selection: { by: tags === null ? 'all' : 'tags', tags } };
}
