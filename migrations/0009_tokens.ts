import type { Migration } from './migration.ts';

/** One-time tickets for sockets and streams, personal API tokens, and call counts that all processes share. */
export const tokens: Migration = {
  name: '0009_tokens',
  up: `
    create table tickets (
      ticket_hash bytea primary key,
      session_id uuid not null references sessions (id) on delete cascade,
      expires_at timestamptz(3) not null
    );
    create index tickets_session_idx on tickets (session_id);

    create table api_tokens (
      id uuid primary key,
      user_id uuid not null references users (id) on delete cascade,
      name text not null,
      token_hash bytea not null unique,
      token_prefix text not null,
      scopes text[] not null,
      created_at timestamptz(3) not null default now(),
      expires_at timestamptz(3) not null,
      last_used_at timestamptz(3),
      revoked_at timestamptz(3)
    );
    create index api_tokens_user_idx on api_tokens (user_id, created_at desc, id desc) where revoked_at is null;

    -- Windows of a minute: what a crash forgets is not worth the write-ahead log.
    create unlogged table rate_windows (
      key text primary key,
      calls integer not null,
      ends_at timestamptz(3) not null
    );
    create index rate_windows_ends_idx on rate_windows (ends_at);
  `,
  down: `
    drop table rate_windows;
    drop table api_tokens;
    drop table tickets;
  `,
};
