import type { Migration } from './migration.ts';

/**
 * Settings by namespace. `value` is the text itself or, where `is_encrypted`, a Fernet token that opens only for its own
 * namespace and key.
 */
export const settingsStore: Migration = {
  name: '0008_settings_store',
  up: `
    alter table settings
      add column namespace text not null default 'custom' check (namespace in ('config', 'model', 'custom', 'system')),
      add column updated_by text,
      alter column value type text using value #>> '{}',
      drop constraint settings_pkey,
      add primary key (namespace, key);
  `,
  down: `
    delete from settings where namespace <> 'custom';
    alter table settings
      drop constraint settings_pkey,
      add primary key (key),
      alter column value type jsonb using to_jsonb(value),
      drop column updated_by,
      drop column namespace;
  `,
};
