import type { Migration } from './migration.ts';

/** What people and programs write into the shared log, and how long that log is. */
export const createPostedEvents: Migration = {
  name: '0012_posted_events',
  up: `
    -- The whole log ('*') and what each principal wrote into it. Whoever appends holds the row of the whole log until
    -- the commit, so that numbers are in the order of commits.
    create table posted_event_logs (
      scope text primary key,
      entries bigint not null,
      sha256 bytea not null
    );
    insert into posted_event_logs (scope, entries, sha256) values ('*', 0, sha256(''));

    -- The details are json, not jsonb: they are given back as they were written.
    create table posted_events (
      number bigint primary key,
      at timestamptz(3) not null default clock_timestamp(),
      poster_kind text not null,
      poster_id text not null,
      poster_name text not null,
      name text not null,
      target text not null,
      details json not null
    );
    create index posted_events_poster_idx on posted_events (poster_id, number);
    create index posted_events_at_idx on posted_events (at);
  `,
  down: `
    drop table posted_events;
    drop table posted_event_logs;
  `,
};
