/**
 * Tells a test of every change of state at the moment it is committed. The triggers are the test's own, in its own
 * clone of the database: the system knows nothing of them.
 */
import pg from 'pg';

const CHANNEL = 'chaos_changes';
const DEFAULT_WAIT_MS = 60_000;

const TRIGGERS = `
  create function chaos_tell() returns trigger language plpgsql as $$
  declare
    fact jsonb;
  begin
    if tg_table_name = 'tasks' then
      if tg_op = 'UPDATE' and new.state = old.state then return null; end if;
      fact := jsonb_build_object('taskId', new.id, 'state', new.state);
    elsif tg_table_name = 'steps' then
      if tg_op = 'UPDATE' and new.decision is not distinct from old.decision then return null; end if;
      fact := jsonb_build_object('taskId', new.task_id, 'step', new.step_no, 'state', coalesce(new.decision, 'proposed'));
    elsif tg_table_name = 'commands' then
      if tg_op = 'UPDATE' and new.state = old.state then return null; end if;
      fact := jsonb_build_object('taskId', new.task_id, 'commandId', new.command_id, 'state', new.state);
    elsif tg_table_name = 'command_output' then
      fact := jsonb_build_object('commandId', new.command_id, 'state', 'stored');
    elsif tg_table_name = 'outbox' then
      fact := jsonb_build_object('workflowId', new.workflow_id, 'state', coalesce(new.payload ->> 'name', new.kind));
    end if;
    perform pg_notify('${CHANNEL}', (fact || jsonb_build_object('table', tg_table_name))::text);
    return null;
  end $$;
  create trigger chaos_tasks after insert or update on tasks for each row execute function chaos_tell();
  create trigger chaos_steps after insert or update on steps for each row execute function chaos_tell();
  create trigger chaos_commands after insert or update on commands for each row execute function chaos_tell();
  create trigger chaos_output after insert on command_output for each row execute function chaos_tell();
  create trigger chaos_outbox after insert on outbox for each row execute function chaos_tell();
`;

export interface Change {
  table: 'tasks' | 'steps' | 'commands' | 'command_output' | 'outbox';
  state: string;
  taskId?: string | null;
  commandId?: string;
  workflowId?: string;
  step?: number;
}

export interface Watch {
  /** Every change so far, in the order of the commits. */
  changes: readonly Change[];
  /** The first change that fits, already seen or still to come. */
  until(fits: (change: Change) => boolean, what: string, timeoutMs?: number): Promise<Change>;
  close(): Promise<void>;
}

export async function watchChanges(url: string): Promise<Watch> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(TRIGGERS);
  const changes: Change[] = [];
  const waiters = new Set<(change: Change) => void>();
  client.on('notification', ({ payload }) => {
    const change = JSON.parse(payload ?? '{}') as Change;
    changes.push(change);
    for (const waiter of [...waiters]) waiter(change);
  });
  client.on('error', () => undefined); // the server may be restarted under it
  await client.query(`listen ${CHANNEL}`);
  return {
    changes,
    until(fits, what, timeoutMs = DEFAULT_WAIT_MS) {
      const seen = changes.find(fits);
      if (seen !== undefined) return Promise.resolve(seen);
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiters.delete(waiter);
          const last = changes.slice(-20).map((change) => JSON.stringify(change));
          reject(new Error(`${what} did not come within ${timeoutMs} ms. Last changes:\n${last.join('\n')}`));
        }, timeoutMs);
        const waiter = (change: Change): void => {
          if (!fits(change)) return;
          clearTimeout(timer);
          waiters.delete(waiter);
          resolve(change);
        };
        waiters.add(waiter);
      });
    },
    close: () => client.end(),
  };
}
