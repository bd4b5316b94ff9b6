import type { Migration } from './migration.ts';

/** Failed logins by account and by address, lock-outs, banned addresses, second factors. */
export const loginAttempts: Migration = {
  name: '0007_login_attempts',
  up: `
    -- What can be tried: an account (user:<id>), or a name that nobody has (name:<keyed hash>, never the name itself).
    create table login_subjects (
      subject text primary key,
      lock_level integer not null default 0,
      locked_until timestamptz,
      updated_at timestamptz not null default now()
    );
    create index login_subjects_updated_idx on login_subjects (updated_at);

    create table login_failures (
      subject text not null references login_subjects (subject) on delete cascade,
      network text not null,
      failures integer not null,
      last_failed_at timestamptz not null,
      primary key (subject, network)
    );

    create table address_failures (
      network text primary key,
      minute_failures integer not null default 0,
      minute_started_at timestamptz not null default '-infinity',
      hour_failures integer not null default 0,
      hour_started_at timestamptz not null default '-infinity',
      refusals integer not null default 0,
      refusals_left_out integer not null default 0,
      refusals_started_at timestamptz not null default '-infinity',
      updated_at timestamptz not null default now()
    );
    create index address_failures_updated_idx on address_failures (updated_at);

    create table banned_addresses (
      network text primary key,
      failures integer not null,
      banned_at timestamptz(3) not null default now(),
      expires_at timestamptz(3) not null
    );
    create index banned_addresses_banned_idx on banned_addresses (banned_at desc, network desc);

    create table user_mfa (
      user_id uuid primary key references users (id) on delete cascade,
      sealed_secret text not null,
      last_step bigint not null default 0,
      enabled_at timestamptz(3),
      created_at timestamptz(3) not null default now()
    );

    create table mfa_backup_codes (
      user_id uuid not null references user_mfa (user_id) on delete cascade,
      code_hash bytea not null,
      used_at timestamptz(3),
      primary key (user_id, code_hash)
    );
  `,
  down: `
    drop table mfa_backup_codes;
    drop table user_mfa;
    drop table banned_addresses;
    drop table address_failures;
    drop table login_failures;
    drop table login_subjects;
  `,
};
