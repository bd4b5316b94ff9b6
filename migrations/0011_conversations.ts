import type { Migration } from './migration.ts';

/** Conversations of people with the assistant, and their messages. */
export const createConversations: Migration = {
  name: '0011_conversations',
  up: `
    create table conversations (
      id uuid primary key,
      user_id uuid not null references users (id) on delete cascade,
      title text not null,
      created_at timestamptz(3) not null,
      -- Time of the newest message: the order of the list, and the lower bound of the next message's time.
      updated_at timestamptz(3) not null
    );
    create index conversations_user_idx on conversations (user_id, updated_at desc, id desc);

    create table messages (
      id uuid primary key,
      conversation_id uuid not null references conversations (id) on delete cascade,
      role text not null check (role in ('user', 'assistant', 'system')),
      content text not null,
      status text not null default 'completed' check (status in ('completed', 'interrupted', 'failed')),
      -- The message that an answer answers: none is answered twice.
      answers_id uuid unique references messages (id) on delete cascade,
      model text,
      mock boolean not null default false,
      input_tokens integer,
      output_tokens integer,
      -- The task that was proposed with it, as clients know it. Not a reference: tasks are deleted, what was said stays.
      task_id text,
      created_at timestamptz(3) not null,
      check ((role = 'assistant') = (answers_id is not null))
    );
    create index messages_conversation_idx on messages (conversation_id, created_at, id);
  `,
  down: `
    drop table messages;
    drop table conversations;
  `,
};
