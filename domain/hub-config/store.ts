/**
 * The hub's configuration: JSON under names that clients choose, kept in the settings store (namespace `hub`), one row a
 * name. What runs reads it name by name (`readHubConfigValue`) and has its own defaults: nothing here is checked for
 * what it means.
 *
 *  A. A value that holds a secret anywhere is stored sealed as a whole, and shown with its secrets masked.
 *  B. A mask that is sent back stands for the secret at that place; where none is stored it is dropped.
 */
import { problem } from '../../contracts/errors.ts';
import { channels } from '../../contracts/events.ts';
import { MAX_SETTING_LENGTH, SECRET_MASK, settingKeySchema } from '../../contracts/settings.ts';
import type { Queryable } from '../../db/database.ts';
import {
  deleteSetting,
  findSetting,
  listSettings,
  lockSettings,
  notifySettings,
  type SettingRow,
  upsertSetting,
} from '../../db/settings.ts';
import type { Actor, DomainDeps, Log } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { type SecretBox, SecretBoxError } from '../secret-box.ts';
import { type SettingsDeps, sealName, settingName } from '../settings/port.ts';
import { changeSettingsIn, type SettingChange, takeUp } from '../settings/store.ts';
import { transact, type Unit } from '../transact.ts';

/** Names there may be. */
export const MAX_HUB_CONFIG_KEYS = 300;
/** What clients send back of an envelope they were given: never a name. */
const IGNORED_KEYS: ReadonlySet<string> = new Set(['data', 'status', 'message', 'error', 'code']);
/** Merged with what is there instead of replacing it. */
const MERGED_KEYS: ReadonlySet<string> = new Set(['llm_config']);
/** Names of secrets, wherever in a value they stand; all texts below such a name are secret. */
const SECRET_NAME =
  /(?:(?:api|access|private|secret|signing|encryption|auth)[._:-]?keys?|tokens?|secrets?|passw(?:or)?ds?|passphrases?|credentials?|authorization|bearer|cookies?)$/i;
/** An address that holds a password is one under every name. */
const ADDRESS_WITH_PASSWORD = /^\s*[a-z][a-z0-9+.-]*:\/\/[^/\s:@]*:[^/\s@]+@/i;

export type HubConfig = Record<string, unknown>;

interface HubConfigDeps {
  db: Queryable;
  log: Log;
  /** Absent: what is sealed reads as not there. */
  secrets?: SecretBox | undefined;
}

/** Every name with its value, secrets masked. @throws forbidden */
export async function readHubConfig(
  deps: DomainDeps & { secrets: SecretBox },
  actor: Actor,
): Promise<HubConfig> {
  assertCan(actor.principal, 'read', 'system');
  const rows = (await listSettings(deps.db)).filter(({ namespace }) => namespace === 'hub');
  return Object.fromEntries(rows.map((row) => [row.key, mask(valueOf(deps, row), row.key)]));
}

/** For what runs: the value of a name with its secrets, undefined where nothing (readable) is stored. */
export async function readHubConfigValue(deps: HubConfigDeps, key: string): Promise<unknown> {
  const row = await findSetting(deps.db, 'hub', key);
  return row && valueOf(deps, row);
}

/**
 * Names that are not given stay as they are; null forgets one. All of it or nothing.
 * @throws forbidden, invalid_request (`invalid_json`), validation_failed, conflict (too many names)
 */
export const updateHubConfig = (
  deps: DomainDeps & { secrets: SecretBox },
  actor: Actor,
  change: unknown,
): Promise<void> => transact(deps, (unit) => updateHubConfigIn(unit, deps, actor, change));

/** As updateHubConfig, and settings that follow from the same words: all of it or nothing. */
export async function updateHubConfigAndSettings(
  deps: SettingsDeps,
  actor: Actor,
  change: unknown,
  settings: readonly SettingChange[],
): Promise<void> {
  await transact(deps, async (unit) => {
    if (settings.length > 0) await changeSettingsIn(unit, deps, actor, settings);
    await updateHubConfigIn(unit, deps, actor, change);
  });
  if (settings.length > 0) await takeUp(deps);
}

async function updateHubConfigIn(
  unit: Unit,
  deps: DomainDeps & { secrets: SecretBox },
  actor: Actor,
  change: unknown,
): Promise<void> {
  assertCan(actor.principal, 'update', 'setting');
  if (!isObject(change)) throw problem('invalid_request', { reason: 'invalid_json' });
  const entries = Object.entries(change).filter(([key]) => !IGNORED_KEYS.has(key));
  for (const [key] of entries) {
    if (!settingKeySchema.safeParse(key).success) throw refusal(key.slice(0, 40), 'is no name of a setting');
  }
  if (entries.length > MAX_HUB_CONFIG_KEYS) throw tooMany();
  if (entries.length === 0) return;
  await lockSettings(unit.trx);
  const rows = (await listSettings(unit.trx)).filter(({ namespace }) => namespace === 'hub');
  const stored = new Map(rows.map((row) => [row.key, row]));
  for (const [key, given] of entries) await applyChange(deps, unit, actor, key, given, stored.get(key));
  const names = (await listSettings(unit.trx)).filter(({ namespace }) => namespace === 'hub');
  if (names.length > MAX_HUB_CONFIG_KEYS) throw tooMany();
  await notifySettings(unit.trx, channels.settings);
}

async function applyChange(
  deps: DomainDeps & { secrets: SecretBox },
  unit: Unit,
  actor: Actor,
  key: string,
  given: unknown,
  row: SettingRow | undefined,
): Promise<void> {
  if (given === null) {
    if (row === undefined) return;
    await deleteSetting(unit.trx, 'hub', key);
  } else {
    const before = row && valueOf(deps, row);
    const isMerged = MERGED_KEYS.has(key) && isObject(before) && isObject(given);
    const value = unmask(key, isMerged ? { ...before, ...given } : given, before);
    if (value === undefined) return;
    const isSecret = holdsSecret(key, value);
    await upsertSetting(unit.trx, {
      namespace: 'hub',
      key,
      value: textOf(deps.secrets, key, value, isSecret),
      isEncrypted: isSecret,
      description: row?.description ?? null,
      updatedBy: actor.principal.name,
    });
  }
  unit.audit(actor, {
    action: 'hub_config.update',
    targetKind: 'setting',
    targetId: settingName('hub', key),
    details: { isForgotten: given === null },
  });
  unit.emit('setting.changed', { data: { namespace: 'hub', key } });
}

function valueOf(deps: HubConfigDeps, row: SettingRow): unknown {
  try {
    const text = row.isEncrypted ? deps.secrets?.open(sealName('hub', row.key), row.value) : row.value;
    return text === undefined ? undefined : JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SecretBoxError)) throw error;
    deps.log.error({
      event: 'setting_unreadable',
      setting: settingName('hub', row.key),
      reason: error.message,
    });
    return undefined;
  }
}

/** @throws validation_failed (too long, or a character that no text may hold) */
function textOf(secrets: SecretBox, key: string, value: unknown, isSecret: boolean): string {
  const text = JSON.stringify(value);
  if (text.length > MAX_SETTING_LENGTH) throw refusal(key, `has more than ${MAX_SETTING_LENGTH} characters`);
  return isSecret ? secrets.seal(sealName('hub', key), text) : text;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isSecretText = (value: unknown, isBelow: boolean): value is string =>
  typeof value === 'string' && value !== '' && (isBelow || ADDRESS_WITH_PASSWORD.test(value));

/** A. @param isBelow it stands below the name of a secret */
function holdsSecret(name: string, value: unknown, isBelow = false): boolean {
  const isSecret = isBelow || SECRET_NAME.test(name);
  if (isSecretText(value, isSecret)) return true;
  if (Array.isArray(value)) return value.some((item) => holdsSecret(name, item, isSecret));
  return isObject(value) && Object.entries(value).some(([key, member]) => holdsSecret(key, member, isSecret));
}

function mask(value: unknown, name: string, isBelow = false): unknown {
  const isSecret = isBelow || SECRET_NAME.test(name);
  if (isSecretText(value, isSecret)) return SECRET_MASK;
  if (Array.isArray(value)) return value.map((item) => mask(item, name, isSecret));
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, mask(member, key, isSecret)]));
}

/** B; undefined: nothing is left to store. */
function unmask(name: string, value: unknown, before: unknown, isBelow = false): unknown {
  const isSecret = isBelow || SECRET_NAME.test(name);
  if (value === SECRET_MASK && (isSecret || isSecretText(before, false))) {
    return typeof before === 'string' && before !== '' ? before : undefined;
  }
  if (Array.isArray(value)) {
    const items: readonly unknown[] = Array.isArray(before) ? before : [];
    return value
      .map((item, index) => unmask(name, item, items[index], isSecret))
      .filter((item) => item !== undefined);
  }
  if (!isObject(value)) return value;
  const members = isObject(before) ? before : {};
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, member]) => [key, unmask(key, member, members[key], isSecret)] as const)
      .filter(([, member]) => member !== undefined),
  );
}

const tooMany = () => problem('conflict', { reason: `more than ${MAX_HUB_CONFIG_KEYS} names` });

const refusal = (key: string, message: string) =>
  problem('validation_failed', {}, { issues: [{ in: 'body', path: [key], message, type: 'value_error' }] });
