/** Trying out the language model with the settings in force. */
import { channels } from '../../contracts/events.ts';
import type { ModelTest } from '../../contracts/settings.ts';
import { insertAuditEvents } from '../../db/audit-events.ts';
import { notifySettings } from '../../db/settings.ts';
import type { Actor } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { auditEntry } from '../transact.ts';
import type { SettingsDeps } from './port.ts';
import { takeUp } from './store.ts';

/**
 * One small question, which costs a fraction of a cent and counts in no budget.
 * @throws forbidden; what is wrong with the model is told in the answer
 */
export async function askModel(deps: SettingsDeps, actor: Actor, signal: AbortSignal): Promise<ModelTest> {
  assertCan(actor.principal, 'update', 'setting');
  const answer = await deps.settings.testModel(signal);
  const entry = auditEntry(actor, {
    action: 'setting.test_model',
    targetKind: 'setting',
    targetId: 'model',
    outcome: answer.success ? 'success' : 'failed',
    details: { model: answer.model },
  });
  await insertAuditEvents(deps.db, [entry]);
  return answer;
}

/**
 * Have every process take up the stored settings now. They do so by themselves; this is for clients that expect to ask.
 * @throws forbidden
 */
export async function reloadModel(deps: SettingsDeps, actor: Actor): Promise<{ hasModel: boolean }> {
  assertCan(actor.principal, 'update', 'setting');
  await notifySettings(deps.db, channels.settings);
  await takeUp(deps);
  return { hasModel: deps.settings.hasModel() };
}
