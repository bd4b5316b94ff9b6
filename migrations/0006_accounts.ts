import type { Migration } from './migration.ts';

/** Canonical names, by which users are found and are unique, and the passwords they had before. */
export const accounts: Migration = {
  name: '0006_accounts',
  up: `
    alter table users add column canonical_name text;
    alter table users add column canonical_email text;
    alter table users add column password_changed_at timestamptz(3) not null default now();
    -- As canonicalName (domain/identity/canonical-name.ts) does it for every name written from now on.
    update users set
      canonical_name = regexp_replace(lower(upper(normalize(username, NFKC))), '\\s', '', 'g'),
      canonical_email = regexp_replace(lower(upper(normalize(email, NFKC))), '\\s', '', 'g'),
      password_changed_at = updated_at;
    alter table users alter column canonical_name set not null;
    create unique index users_canonical_name_key on users (canonical_name);
    create unique index users_canonical_email_key on users (canonical_email) where canonical_email is not null;
    create index users_created_idx on users (created_at desc, id desc);

    create table password_history (
      id bigint generated always as identity primary key,
      user_id uuid not null references users (id) on delete cascade,
      password_hash text not null,
      replaced_at timestamptz(3) not null default now()
    );
    create index password_history_user_idx on password_history (user_id, id desc);
  `,
  down: `
    drop table password_history;
    drop index users_created_idx;
    drop index users_canonical_email_key;
    drop index users_canonical_name_key;
    alter table users drop column password_changed_at;
    alter table users drop column canonical_email;
    alter table users drop column canonical_name;
  `,
};
