/** The sealed tokens of agents with an address, for a change of keys (domain/reseal-secrets.ts). */
import type { Db } from '../../db/database.ts';
import { listSealedUrlTokens, replaceSealedUrlToken } from '../../db/url-agents.ts';
import { urlTokenName } from './deps.ts';

export async function* sealedOfUrlAgents(db: Db) {
  for (const { agentId, sealedToken: sealed } of await listSealedUrlTokens(db)) {
    yield {
      name: urlTokenName(agentId),
      sealed,
      replace: (to: string) => replaceSealedUrlToken(db, { agentId, from: sealed, to }),
    };
  }
}
