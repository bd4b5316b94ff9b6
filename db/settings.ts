/** Settings that administrators change at run time. Secret values are stored sealed. */

import { execute, type Queryable, query, queryOne } from './database.ts';
import { lockKeys } from './lock-keys.ts';

export type SettingNamespace = 'config' | 'model' | 'custom' | 'system' | 'hub';

export interface SettingRow {
  namespace: SettingNamespace;
  key: string;
  /** The text, or what the secret box made of it. */
  value: string;
  isEncrypted: boolean;
  description: string | null;
  /** Name of the principal at that time. */
  updatedBy: string | null;
  createdAt: Date;
  updatedAt: Date;
}

interface StoredSetting {
  namespace: SettingNamespace;
  key: string;
  value: string;
  is_encrypted: boolean;
  description: string | null;
  updated_by: string | null;
  created_at: Date;
  updated_at: Date;
}

const columns = 'namespace, key, value, is_encrypted, description, updated_by, created_at, updated_at';

const rowToSetting = (row: StoredSetting): SettingRow => ({
  namespace: row.namespace,
  key: row.key,
  value: row.value,
  isEncrypted: row.is_encrypted,
  description: row.description,
  updatedBy: row.updated_by,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});

export async function lockSettings(db: Queryable): Promise<void> {
  await execute(db, 'select pg_advisory_xact_lock(:key)', { key: lockKeys.settings });
}

/** All of them: they are few (see MAX_CUSTOM_SETTINGS). */
export async function listSettings(db: Queryable): Promise<SettingRow[]> {
  const rows = await query<StoredSetting>(db, `select ${columns} from settings order by namespace, key`);
  return rows.map(rowToSetting);
}

export async function findSetting(
  db: Queryable,
  namespace: SettingNamespace,
  key: string,
): Promise<SettingRow | undefined> {
  const row = await queryOne<StoredSetting>(
    db,
    `select ${columns} from settings where namespace = :namespace and key = :key`,
    { namespace, key },
  );
  return row && rowToSetting(row);
}

export type NewSetting = Pick<
  SettingRow,
  'namespace' | 'key' | 'value' | 'isEncrypted' | 'description' | 'updatedBy'
>;

export async function upsertSetting(db: Queryable, setting: NewSetting): Promise<void> {
  await execute(
    db,
    `insert into settings (namespace, key, value, is_encrypted, description, updated_by)
     values (:namespace, :key, :value, :is_encrypted, :description, :updated_by)
     on conflict (namespace, key) do update
     set value = excluded.value, is_encrypted = excluded.is_encrypted, description = excluded.description,
         updated_by = excluded.updated_by, updated_at = now()`,
    {
      namespace: setting.namespace,
      key: setting.key,
      value: setting.value,
      is_encrypted: setting.isEncrypted,
      description: setting.description,
      updated_by: setting.updatedBy,
    },
  );
}

export async function deleteSetting(
  db: Queryable,
  namespace: SettingNamespace,
  key: string,
): Promise<boolean> {
  const row = await queryOne(
    db,
    'delete from settings where namespace = :namespace and key = :key returning key',
    { namespace, key },
  );
  return row !== undefined;
}

/** Put the same secret under another key; a row that changed meanwhile stays as it is. */
export async function replaceSealedSetting(
  db: Queryable,
  setting: Pick<SettingRow, 'namespace' | 'key'> & { from: string; to: string },
): Promise<boolean> {
  const row = await queryOne(
    db,
    `update settings set value = :to
     where namespace = :namespace and key = :key and value = :from and is_encrypted returning key`,
    { namespace: setting.namespace, key: setting.key, from: setting.from, to: setting.to },
  );
  return row !== undefined;
}

/** Tell every process once this commits. */
export async function notifySettings(db: Queryable, channel: string): Promise<void> {
  await execute(db, `select pg_notify(:channel, '')`, { channel });
}
