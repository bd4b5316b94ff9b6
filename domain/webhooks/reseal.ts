/** The sealed texts of webhooks, for a change of keys (domain/reseal-secrets.ts). */
import type { Db } from '../../db/database.ts';
import { listSealedWebhooks, replaceSealedWebhook } from '../../db/webhooks.ts';
import { webhookBearerName, webhookSecretName } from './deps.ts';

export async function* sealedOfWebhooks(db: Db) {
  for (const webhook of await listSealedWebhooks(db)) {
    const { id } = webhook;
    const columns = [
      ['sealedSecret', webhookSecretName(id)],
      ['sealedPreviousSecret', webhookSecretName(id)],
      ['sealedBearerToken', webhookBearerName(id)],
    ] as const;
    for (const [column, name] of columns) {
      const sealed = webhook[column];
      if (sealed === null) continue;
      yield {
        name,
        sealed,
        replace: (to: string) => replaceSealedWebhook(db, { id, column, from: sealed, to }),
      };
    }
  }
}
