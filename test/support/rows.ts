/** Rows that tests write without a unit of work around them. */
import { type Queryable, query } from '../../db/database.ts';
import {
  type EventEntry,
  type EventRow,
  eventRecord,
  rowToEvent,
  type StoredEvent,
} from '../../db/events.ts';
import {
  type OutboxEntry,
  type OutboxRow,
  outboxRecord,
  rowToOutbox,
  type StoredOutbox,
} from '../../db/outbox.ts';
import { emittedColumns, rungColumns } from '../../db/unit-rows.ts';

/** As they are stored, in order. */
export async function insertEvents(db: Queryable, entries: readonly EventEntry[]): Promise<EventRow[]> {
  const rows = await query<StoredEvent>(
    db,
    `insert into events (type, task_id, command_id, batch_id, agent_id, owner_id, data)
     select type, task_id, command_id, batch_id, agent_id, owner_id, data
     from jsonb_to_recordset(cast(:rows as jsonb)) as r(
       type text, task_id uuid, command_id uuid, batch_id uuid, agent_id text, owner_id text, data jsonb)
     returning ${emittedColumns}`,
    { rows: JSON.stringify(entries.map(eventRecord)) },
  );
  return rows.map(rowToEvent);
}

/** As they are stored, in order. */
export async function insertOutbox(db: Queryable, entries: readonly OutboxEntry[]): Promise<OutboxRow[]> {
  const rows = await query<StoredOutbox>(
    db,
    `insert into outbox (workflow_id, kind, payload)
     select workflow_id, kind, payload
     from jsonb_to_recordset(cast(:rows as jsonb)) as r(workflow_id text, kind text, payload jsonb)
     returning ${rungColumns}`,
    { rows: JSON.stringify(entries.map(outboxRecord)) },
  );
  return rows.map(rowToOutbox);
}
