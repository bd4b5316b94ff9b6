/** Reading and changing settings. Secrets go in and never come out: what reads them is this process's own configuration. */
import { problem } from '../../contracts/errors.ts';
import { channels } from '../../contracts/events.ts';
import {
  MAX_CUSTOM_SETTINGS,
  SECRET_MASK,
  type SettingView,
  type VisibleNamespace,
} from '../../contracts/settings.ts';
import type { Trx } from '../../db/database.ts';
import {
  deleteSetting as deleteRow,
  findSetting as findRow,
  listSettings as listRows,
  lockSettings,
  notifySettings,
  type SettingRow,
  upsertSetting,
} from '../../db/settings.ts';
import type { Actor } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { type SecretBox, SecretBoxError } from '../secret-box.ts';
import { transact, type Unit } from '../transact.ts';
import {
  type SettingDefinition,
  type SettingsDeps,
  type SettingTexts,
  sealName,
  settingName,
} from './port.ts';

/** Longest value that is repeated in the audit trail, characters. */
const MAX_AUDITED_LENGTH = 200;
/** Custom settings with such names are secrets unless the client says otherwise. */
const SECRET_KEY_NAME = /(api[._:-]?key|token|secret|password|passphrase|credentials?)$/i;

/** One change; `value: null` forgets what is stored. */
export interface SettingChange {
  namespace: VisibleNamespace;
  key: string;
  value: string | null;
  /** Absent: as it is. */
  description?: string | null | undefined;
  /** Only for `custom`. */
  isSecret?: boolean | undefined;
}

/**
 * Everything the server knows, with what is in force, and what clients keep in `custom`.
 * @throws forbidden
 */
export async function listSettings(deps: SettingsDeps, actor: Actor): Promise<SettingView[]> {
  assertCan(actor.principal, 'list', 'setting');
  const rows = await listRows(deps.db);
  const stored = new Map(rows.map((row) => [settingName(row.namespace, row.key), row]));
  return [
    ...deps.settings.definitions.map((one) => present(one, stored.get(settingName(one.namespace, one.key)))),
    ...rows.filter(({ namespace }) => namespace === 'custom').map((row) => present(undefined, row)),
  ];
}

/** @throws forbidden, setting_not_found */
export async function getSetting(
  deps: SettingsDeps,
  actor: Actor,
  namespace: VisibleNamespace,
  key: string,
): Promise<SettingView> {
  assertCan(actor.principal, 'read', 'setting');
  const definition = definitionOf(deps, namespace, key);
  const row = await findRow(deps.db, namespace, key);
  if (definition === undefined && row === undefined) throw problem('setting_not_found', { key });
  return present(definition, row);
}

/**
 * Make these changes together, or none. This process has taken them up when it returns; the others have been told.
 * @throws forbidden, setting_not_found (no such setting, or nothing stored to forget), validation_failed, conflict (too
 * many custom settings)
 */
export async function changeSettings(
  deps: SettingsDeps,
  actor: Actor,
  changes: readonly SettingChange[],
): Promise<SettingView[]> {
  await transact(deps, (unit) => changeSettingsIn(unit, deps, actor, changes));
  await takeUp(deps);
  return Promise.all(
    changes
      .filter(({ value }) => value !== null)
      .map(({ namespace, key }) => getSetting(deps, actor, namespace, key)),
  );
}

/** As changeSettings, in a unit of work that does more; `takeUp` is for after its commit. */
export async function changeSettingsIn(
  unit: Unit,
  deps: SettingsDeps,
  actor: Actor,
  changes: readonly SettingChange[],
): Promise<void> {
  for (const { value } of changes) {
    assertCan(actor.principal, value === null ? 'delete' : 'update', 'setting');
  }
  await lockSettings(unit.trx);
  for (const change of changes) await applyChange(deps, unit, actor, change);
  await assertFit(deps, unit.trx);
  await notifySettings(unit.trx, channels.settings);
}

/** This process's own copy. The change is committed: failing to read it back must not look like a refusal. */
export async function takeUp(deps: SettingsDeps): Promise<void> {
  await deps.settings.refresh().catch((err: unknown) => {
    deps.log.warn({ event: 'settings_read_failed', err });
  });
}

async function applyChange(
  deps: SettingsDeps,
  unit: Unit,
  actor: Actor,
  change: SettingChange,
): Promise<void> {
  const { namespace, key, value } = change;
  const definition = definitionOf(deps, namespace, key);
  if (namespace !== 'custom' && definition === undefined) throw problem('setting_not_found', { key });
  const before = await findRow(unit.trx, namespace, key);
  const isSecret = secrecyOf(change, definition, before);
  if (value === null) {
    if (!(await deleteRow(unit.trx, namespace, key))) throw problem('setting_not_found', { key });
  } else {
    // A form that shows the mask of what the environment holds sends it back: nothing to store.
    if (value === SECRET_MASK && isSecret && before === undefined && definition?.isConfigured) return;
    const wrong = definition && (value === '' ? 'must not be empty' : definition.problemOf(value));
    const stored = storedValue(deps.secrets, { ...change, value, isSecret }, before);
    if (stored === null) throw refusal('value', 'is the mask of a secret, but none is stored');
    if (wrong && stored.isNew) throw refusal('value', wrong);
    if (before === undefined && namespace === 'custom') await assertRoom(unit.trx);
    await upsertSetting(unit.trx, {
      namespace,
      key,
      value: stored.value,
      isEncrypted: isSecret,
      description: change.description === undefined ? (before?.description ?? null) : change.description,
      updatedBy: actor.principal.name,
    });
  }
  unit.audit(actor, {
    ...(value === null ? { action: 'setting.delete' } : { action: 'setting.update' }),
    targetKind: 'setting',
    targetId: settingName(namespace, key),
    details: auditedFacts(definition, before, value),
  });
  unit.emit('setting.changed', { data: { namespace, key } });
}

/** A setting that is stored as a secret stays one unless its value is given anew. */
function secrecyOf(
  change: SettingChange,
  definition: SettingDefinition | undefined,
  before: SettingRow | undefined,
): boolean {
  const { isSecret } = change;
  if (definition !== undefined) {
    if (isSecret !== undefined && isSecret !== definition.isSecret) {
      throw refusal('isSecret', `is fixed to ${definition.isSecret} for ${change.key}`);
    }
    return definition.isSecret;
  }
  if (isSecret === false && change.value === SECRET_MASK) {
    throw refusal('isSecret', 'cannot uncover a stored secret: give its value');
  }
  return isSecret ?? before?.isEncrypted ?? SECRET_KEY_NAME.test(change.key);
}

/** Null: the mask was sent where no secret is stored. */
function storedValue(
  secrets: SecretBox,
  change: { namespace: string; key: string; value: string; isSecret: boolean },
  before: SettingRow | undefined,
): { value: string; isNew: boolean } | null {
  const { namespace, key, value, isSecret } = change;
  if (!isSecret) return { value, isNew: true };
  if (value !== SECRET_MASK) return { value: secrets.seal(sealName(namespace, key), value), isNew: true };
  return before?.isEncrypted ? { value: before.value, isNew: false } : null;
}

async function assertRoom(trx: Trx): Promise<void> {
  const rows = await listRows(trx);
  if (rows.filter(({ namespace }) => namespace === 'custom').length >= MAX_CUSTOM_SETTINGS) {
    throw problem('conflict', { reason: `there are ${MAX_CUSTOM_SETTINGS} custom settings already` });
  }
}

/** Values that are right by themselves may not fit each other. */
async function assertFit(deps: SettingsDeps, trx: Trx): Promise<void> {
  const wrong = deps.settings.problemOfAll(openAll(deps.secrets, await listRows(trx)));
  if (wrong !== null) throw refusal('value', `${wrong.key} ${wrong.problem}`);
}

function openAll(secrets: SecretBox, rows: readonly SettingRow[]): SettingTexts {
  const texts = new Map<string, string>();
  for (const row of rows) {
    try {
      const text = row.isEncrypted ? secrets.open(sealName(row.namespace, row.key), row.value) : row.value;
      texts.set(settingName(row.namespace, row.key), text);
    } catch (error) {
      // The reader tells of it; it counts as not stored.
      if (!(error instanceof SecretBoxError)) throw error;
    }
  }
  return texts;
}

/** Values of settings the server knows and that are no secrets; of others only that they changed. */
function auditedFacts(
  definition: SettingDefinition | undefined,
  before: SettingRow | undefined,
  value: string | null,
): Record<string, unknown> {
  if (definition === undefined || definition.isSecret) return {};
  const cut = (text: string | null): string | null => text?.slice(0, MAX_AUDITED_LENGTH) ?? null;
  return { from: cut(before?.value ?? null), to: cut(value) };
}

const definitionOf = (deps: SettingsDeps, namespace: string, key: string): SettingDefinition | undefined =>
  deps.settings.definitions.find((one) => one.namespace === namespace && one.key === key);

const refusal = (field: string, message: string) =>
  problem('validation_failed', {}, { issues: [{ in: 'body', path: [field], message, type: 'value_error' }] });

function present(definition: SettingDefinition | undefined, row: SettingRow | undefined): SettingView {
  const isSecret = definition?.isSecret ?? row?.isEncrypted ?? false;
  const hasValue = row !== undefined || (definition?.isConfigured ?? false);
  const open = row?.value ?? definition?.configured ?? null;
  return {
    namespace: definition?.namespace ?? 'custom',
    key: definition?.key ?? row?.key ?? '',
    value: isSecret ? (hasValue ? SECRET_MASK : null) : open,
    isSecret,
    isStored: row !== undefined,
    description: row?.description ?? definition?.description ?? null,
    unit: definition?.unit ?? null,
    createdAt: row?.createdAt.toISOString() ?? null,
    updatedAt: row?.updatedAt.toISOString() ?? null,
    updatedBy: row?.updatedBy ?? null,
  };
}
