/** A thousand agents on two bridges: a batch of them is one batch. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createFleet, type Fleet } from '../support/fleet.ts';
import { type Ledger, ledgerOf } from '../support/ledger.ts';
import { type System, startSystem } from '../support/system.ts';

const SIZE = 1_000;
let system: System;
let ledger: Ledger;
let fleet: Fleet;

beforeAll(async () => {
  system = await startSystem({ worker: false });
  ledger = ledgerOf(system);
  fleet = await createFleet(system, SIZE);
});
afterAll(async () => {
  await fleet.close();
  await system.close();
});

const timed = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
  const start = performance.now();
  const value = await work();
  console.info(`${what}: ${Math.round(performance.now() - start)} ms`);
  return value;
};
const eventCounts = async (batchId: string) =>
  Object.fromEntries(
    (
      await ledger.sql<{ type: string; count: number }>(
        'select type, count(*) from events where batch_id = :batchId group by type order by type',
        { batchId },
      )
    ).map((row) => [row.type, row.count]),
  );
const statesOf = async (batchId: string) =>
  ledger.sql<{ state: string; count: number }>(
    'select state, count(*) from commands where batch_id = :batchId group by state',
    { batchId },
  );

describe('a batch of a thousand', () => {
  it('that waits for all of its agents runs once on each when they come', async () => {
    const batch = await timed('insert, all offline', () =>
      ledger.run({ agents: fleet.agentIds, act: { command: 'true' } }),
    );
    expect(batch).toMatchObject({ size: SIZE, pending: SIZE });
    // As the batch of a task: its end is a signal to a workflow.
    await ledger.sql(`create table heard (workflow_id text, payload jsonb)`);
    await ledger.sql(
      `create function hear() returns trigger language plpgsql as
       'begin insert into heard values (new.workflow_id, new.payload); return new; end'`,
    );
    await ledger.sql('create trigger hear after insert on outbox for each row execute function hear()');
    await ledger.sql(`update batches set workflow_id = 'task/none/1' where id = :id`, { id: batch.batchId });
    const other = await system.openApi();
    await timed('connect', () => fleet.connect([system.url, other.url]));
    const ended = await timed('outcomes after the last connected', () =>
      system.until(
        () =>
          ledger.sql<{ pending: number; finished: boolean }>(
            'select pending, finished_at is not null as finished from batches where id = :id',
            { id: batch.batchId },
          ),
        ([row]) => row?.pending === 0,
        'the end of the batch',
      ),
    );
    expect(ended).toEqual([{ pending: 0, finished: true }]);
    expect(await ledger.sql('select workflow_id, payload from heard')).toEqual([
      { workflow_id: 'task/none/1', payload: { name: 'batchFinished', arg: { batchId: batch.batchId } } },
    ]);
    expect(await statesOf(batch.batchId)).toEqual([{ state: 'succeeded', count: SIZE }]);
    expect(await eventCounts(batch.batchId)).toEqual({
      'batch.finished': 1,
      'command.queued': SIZE,
      'command.sent': SIZE,
      'command.started': SIZE,
      'command.finished': SIZE,
    });
  });

  it('that are connected is answered when the last is done', async () => {
    fleet.runs.clear();
    const reply = await timed('run on all, wait for all', () =>
      ledger.post({ agents: fleet.agentIds, act: { command: 'echo again' }, waitMs: 25_000 }),
    );
    expect(reply.status).toBe(201);
    const { batchId, size, pending, finishedAt, commands } = reply.body;
    expect({ size, pending, commands: commands.length }).toEqual({ size: SIZE, pending: 0, commands: SIZE });
    expect(finishedAt).not.toBeNull();
    expect(await statesOf(batchId)).toEqual([{ state: 'succeeded', count: SIZE }]);
    expect([fleet.runs.size, Math.max(...fleet.runs.values())]).toEqual([SIZE, 1]);
    expect(await eventCounts(batchId)).toMatchObject({ 'command.started': SIZE, 'command.finished': SIZE });
    expect(await ledger.auditCount('command.run', batchId)).toBe(1);
    expect(await ledger.sql('select id from batches where id = :batchId', { batchId })).toHaveLength(1);
    const problems = system.lines.filter(
      (line) => line.level === 'error' || line.event === 'reports_not_stored',
    );
    expect(problems).toEqual([]);
  });

  it('beside others, with presence, reconnects and a cancel at the same time: every command ends once', async () => {
    fleet.runs.clear();
    const batches = await timed('four batches, reports, reconnects and a cancel', async () => {
      const posted = [1, 2, 3, 4].map((word) =>
        ledger.run({ agents: fleet.agentIds, act: { command: `echo ${word}` } }),
      );
      fleet.report();
      const reconnected = fleet.reconnect(200, system.url);
      const made = await Promise.all(posted);
      fleet.report();
      await system.call('POST', `/v1/batches/${made[1]?.batchId}/cancel`, {});
      await reconnected;
      fleet.report();
      for (const { batchId } of made)
        await system.until(
          () =>
            ledger.sql<{ pending: number }>('select pending from batches where id = :batchId', { batchId }),
          ([row]) => row?.pending === 0,
          'the end of a batch',
        );
      return made;
    });
    for (const { batchId } of batches) {
      const states = await statesOf(batchId);
      expect(states.reduce((sum, row) => sum + row.count, 0)).toBe(SIZE);
      expect(await eventCounts(batchId)).toMatchObject({ 'command.finished': SIZE });
    }
    expect(system.lines.filter((line) => line.level === 'error')).toEqual([]);
  });
});
