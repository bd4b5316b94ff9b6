/**
 * The shared agent token: AGENT_TOKEN, or what replaced it.
 *
 *  A. A rotated token stands beside a hash of the AGENT_TOKEN it replaced. It is in force for as long as processes are
 *     configured with that very value: whoever configures another one has decided anew.
 *  B. The token itself is kept, sealed: JWTs signed with it must be verified.
 */
import { z } from 'zod';
import { channels } from '../../contracts/events.ts';
import { lockSettings, notifySettings, upsertSetting } from '../../db/settings.ts';
import type { Actor } from '../deps.ts';
import { claimSecretReply, type RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { type SettingTexts, sealName, settingName } from '../settings/port.ts';
import { takeUp } from '../settings/store.ts';
import { transact } from '../transact.ts';
import type { IdentityDeps } from './deps.ts';
import { createToken, hashToken } from './opaque-tokens.ts';

const PLACE = { namespace: 'system', key: 'agent_token' } as const;

const rotatedSchema = z.object({
  token: z.string().min(1),
  /** Hash of the AGENT_TOKEN it replaced; null: there was none. */
  replaces: z.string().nullable(),
});

/** The token in force, given AGENT_TOKEN and the stored settings. */
export function currentAgentToken(configured: string | null, texts: SettingTexts): string | null {
  const text = texts.get(settingName(PLACE.namespace, PLACE.key));
  if (text === undefined) return configured;
  const rotated = rotatedSchema.parse(JSON.parse(text));
  return rotated.replaces === hashOf(configured) ? rotated.token : configured; // A
}

/**
 * Replace the token in force. The old one stops working here at once, in other processes when they hear of it (usually
 * within milliseconds, at the latest after SETTINGS_POLL_MS); event `token.rotated` tells clients.
 * @returns the new token, shown only now
 * @throws forbidden, conflict (a repeated Idempotency-Key)
 */
export async function rotateAgentToken(
  deps: IdentityDeps,
  actor: Actor,
  requestKey: RequestKey | null = null,
): Promise<{ newToken: string }> {
  assertCan(actor.principal, 'manage', 'system');
  const newToken = createToken('shared');
  const replaces = hashOf(deps.identity.configuredAgentToken);
  await transact(deps, async (unit) => {
    if (requestKey) {
      const resource = { resourceKind: 'shared_token', resourceId: PLACE.key };
      await claimSecretReply(unit.trx, { principalId: actor.principal.id, ...requestKey, ...resource });
    }
    await lockSettings(unit.trx);
    await upsertSetting(unit.trx, {
      ...PLACE,
      value: deps.secrets.seal(
        sealName(PLACE.namespace, PLACE.key),
        JSON.stringify({ token: newToken, replaces }),
      ), // B
      isEncrypted: true,
      description: null,
      updatedBy: actor.principal.name,
    });
    unit.audit(actor, {
      action: 'agent_token.rotate',
      targetKind: 'setting',
      targetId: settingName(PLACE.namespace, PLACE.key),
      details: { wasConfigured: replaces !== null },
    });
    unit.emit('token.rotated', { data: {} });
    await notifySettings(unit.trx, channels.settings);
  });
  await takeUp(deps);
  return { newToken };
}

const hashOf = (token: string | null): string | null =>
  token === null ? null : hashToken(token).toString('base64url');
