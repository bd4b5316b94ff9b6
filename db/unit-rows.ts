/** The audit rows, events and outbox rows of one unit of work, in one statement: every unit ends with it and its commit. */
import { type AuditEntry, auditRecord } from './audit-events.ts';
import { queryAndCommit, type Trx } from './database.ts';
import { type EventEntry, type EventRow, eventRecord, rowToEvent, type StoredEvent } from './events.ts';
import { type OutboxEntry, type OutboxRow, outboxRecord, rowToOutbox, type StoredOutbox } from './outbox.ts';

export interface UnitRows {
  audits: readonly AuditEntry[];
  events: readonly EventEntry[];
  outbox: readonly OutboxEntry[];
}

/** End the caller's transaction with them; returns the events and outbox rows as stored, in order. */
export async function commitUnitRows(
  trx: Trx,
  rows: UnitRows,
): Promise<{ events: EventRow[]; outbox: OutboxRow[] }> {
  // A unit that only read or changed rows: whoever began the transaction commits it.
  if (rows.audits.length + rows.events.length + rows.outbox.length === 0) return { events: [], outbox: [] };
  const [row] = await queryAndCommit<{
    events: StoredJson<StoredEvent>[];
    outbox: StoredJson<StoredOutbox>[];
  }>(
    trx,
    `with audited as (
       insert into audit_events (principal_kind, principal_id, principal_name, session_id, address, request_id,
                                 action, target_kind, target_id, outcome, details)
       select principal_kind, principal_id, principal_name, session_id, address, request_id,
              action, target_kind, target_id, outcome, details
       from jsonb_to_recordset(cast(:audits as jsonb)) as r(
         principal_kind text, principal_id text, principal_name text, session_id uuid, address text, request_id text,
         action text, target_kind text, target_id text, outcome text, details jsonb)
     ), emitted as (
       insert into events (type, task_id, command_id, batch_id, agent_id, owner_id, data)
       select type, task_id, command_id, batch_id, agent_id, owner_id, data
       from jsonb_to_recordset(cast(:events as jsonb)) as r(
         type text, task_id uuid, command_id uuid, batch_id uuid, agent_id text, owner_id text, data jsonb)
       returning ${emittedColumns}
     ), rung as (
       insert into outbox (workflow_id, kind, payload)
       select workflow_id, kind, payload
       from jsonb_to_recordset(cast(:outbox as jsonb)) as r(workflow_id text, kind text, payload jsonb)
       returning ${rungColumns}
     )
     select (select coalesce(jsonb_agg(to_jsonb(emitted) order by id), '[]') from emitted) as events,
            (select coalesce(jsonb_agg(to_jsonb(rung) order by id), '[]') from rung) as outbox`,
    {
      audits: JSON.stringify(rows.audits.map(auditRecord)),
      events: JSON.stringify(rows.events.map(eventRecord)),
      outbox: JSON.stringify(rows.outbox.map(outboxRecord)),
    },
  );
  return { events: eventsOfJson(row?.events ?? []), outbox: outboxOfJson(row?.outbox ?? []) };
}

/** What an insert of events returns as JSON, for `eventsOfJson`. */
export const emittedColumns = `id, cast(xid as text) as xid, at, type, task_id, command_id, batch_id, agent_id,
         owner_id, data, (select t.public_id from tasks t where t.id = events.task_id) as task_public_id`;

/** What an insert of outbox rows returns as JSON, for `outboxOfJson`. */
export const rungColumns = 'id, workflow_id, kind, payload, attempts, created_at';

/** A row that came back inside JSON: its times are text. */
export type StoredJson<Row> = {
  [Name in keyof Row]: Row[Name] extends Date
    ? string
    : Row[Name] extends Date | null
      ? string | null
      : Row[Name];
};

export const eventsOfJson = (rows: readonly StoredJson<StoredEvent>[]): EventRow[] =>
  rows.map((event) => rowToEvent({ ...event, at: new Date(event.at) }));

export const outboxOfJson = (rows: readonly StoredJson<StoredOutbox>[]): OutboxRow[] =>
  rows.map((one) => rowToOutbox({ ...one, created_at: new Date(one.created_at) }));
