/** After SETTINGS_ENCRYPTION_KEY got a new first key: put everything that is sealed under it. */
import type { Db } from '../db/database.ts';
import { listSealedMfa, replaceSealedMfa } from '../db/sealed-mfa.ts';
import { listSettings, replaceSealedSetting } from '../db/settings.ts';
import type { Log } from './deps.ts';
import { mfaSecretName } from './identity/second-factor.ts';
import { type SecretBox, SecretBoxError } from './secret-box.ts';
import { sealName } from './settings/port.ts';
import { sealedOfTasks } from './tasks/reseal.ts';
import { sealedOfUrlAgents } from './url-agents/reseal.ts';
import { sealedOfWebhooks } from './webhooks/reseal.ts';

/** Second factors read at once. */
const MFA_PAGE = 500;
const NIL_UUID = '00000000-0000-0000-0000-000000000000';

export interface Resealed {
  resealed: number;
  /** No key of the list opens them. */
  unreadable: number;
}

interface SealedPlace {
  /** Name it was sealed for. */
  name: string;
  sealed: string;
  /** False when it changed meanwhile: whoever changed it had the new key too, or the next start finds it. */
  replace(to: string): Promise<boolean>;
}

/**
 * Safe to run at any time, also in several processes at once. Every API process runs it at its start; once one has
 * reported nothing left, the old keys can be taken out of the list.
 */
export async function resealSecrets(deps: { db: Db; secrets: SecretBox; log: Log }): Promise<Resealed> {
  const { secrets, log } = deps;
  const done: Resealed = { resealed: 0, unreadable: 0 };
  for await (const { name, sealed, replace } of sealedPlaces(deps.db)) {
    if (!secrets.isStale(sealed)) continue;
    try {
      if (await replace(secrets.seal(name, secrets.open(name, sealed)))) done.resealed++;
    } catch (error) {
      if (!(error instanceof SecretBoxError)) throw error;
      log.error({ event: 'secret_unreadable', name, reason: error.message });
      done.unreadable++;
    }
  }
  if (done.resealed > 0 || done.unreadable > 0) log.info({ event: 'secrets_resealed', ...done });
  return done;
}

async function* sealedPlaces(db: Db): AsyncGenerator<SealedPlace> {
  for (const { namespace, key, value: sealed, isEncrypted } of await listSettings(db)) {
    if (!isEncrypted) continue;
    yield {
      name: sealName(namespace, key),
      sealed,
      replace: (to) => replaceSealedSetting(db, { namespace, key, from: sealed, to }),
    };
  }
  yield* sealedOfWebhooks(db);
  yield* sealedOfUrlAgents(db);
  yield* sealedOfTasks(db);
  let afterUserId = NIL_UUID;
  for (;;) {
    const page = await listSealedMfa(db, { afterUserId, limit: MFA_PAGE });
    for (const { userId, sealedSecret: sealed } of page) {
      yield {
        name: mfaSecretName(userId),
        sealed,
        replace: (to) => replaceSealedMfa(db, { userId, from: sealed, to }),
      };
      afterUserId = userId;
    }
    if (page.length < MFA_PAGE) return;
  }
}
