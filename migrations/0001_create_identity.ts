import type { Migration } from './migration.ts';

/** Users, login sessions, rotating refresh tokens, settings. */
export const createIdentity: Migration = {
  name: '0001_create_identity',
  up: `
    create table users (
      id uuid primary key,
      username text not null,
      email text,
      display_name text,
      avatar_url text,
      role text not null check (role in ('viewer', 'user', 'operator', 'admin')),
      password_hash text not null,
      is_active boolean not null default true,
      must_change_password boolean not null default false,
      last_login_at timestamptz(3),
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now()
    );
    create unique index users_username_key on users (lower(username));
    create unique index users_email_key on users (lower(email)) where email is not null;

    create table sessions (
      id uuid primary key,
      user_id uuid not null references users (id) on delete cascade,
      family text not null,
      address text,
      user_agent text,
      created_at timestamptz(3) not null default now(),
      expires_at timestamptz(3) not null,
      revoked_at timestamptz(3),
      revoked_reason text
    );
    create index sessions_user_idx on sessions (user_id) where revoked_at is null;

    create table refresh_tokens (
      id uuid primary key,
      session_id uuid not null references sessions (id) on delete cascade,
      token_hash bytea not null unique,
      created_at timestamptz(3) not null default now(),
      expires_at timestamptz(3) not null,
      used_at timestamptz(3),
      successor_id uuid
    );
    create index refresh_tokens_session_idx on refresh_tokens (session_id);

    create table settings (
      key text primary key,
      value jsonb not null,
      is_encrypted boolean not null default false,
      description text,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now()
    );
  `,
  down: `
    drop table settings;
    drop table refresh_tokens;
    drop table sessions;
    drop table users;
  `,
};
