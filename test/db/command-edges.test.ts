/** The edge table: code, trigger and model say the same, and no sequence of writes leaves it. */
import fc from 'fast-check';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Act, actDigest, adHocBinding } from '../../contracts/act.ts';
import {
  type CommandState,
  commandEdges,
  commandStates,
  type EdgeWriter,
  finalCommandStates,
} from '../../contracts/command-states.ts';
import { insertBatchRows } from '../../db/command-inserts.ts';
import { createDatabase, type Db, isSqlState, sqlStates } from '../../db/database.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

/** The states from which `by` may go to `to`. */
const sourcesOf = (to: CommandState, by: EdgeWriter): CommandState[] =>
  commandEdges.filter((edge) => edge.to === to && edge.by === by).map((edge) => edge.from);

const act: Act = {
  mode: 'argv',
  argv: ['true'],
  stdin: null,
  workingDirectory: null,
  environment: {},
  user: null,
  elevated: false,
  timeoutMs: 1000,
  outputCapBytes: 1024,
  expiryMs: 60_000,
};
const digest = actDigest(act, adHocBinding);

let database: TestDatabase;
let db: Db;

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 4, applicationName: 'test-edges' });
  await db('agents').insert({ id: 'a', hostname: 'a' });
});
afterAll(async () => {
  await db.destroy();
  await database.drop();
});

async function newCommand(): Promise<string> {
  const batchId = uuidv7();
  const commandId = uuidv7();
  await insertBatchRows(db, {
    batchId,
    act: { digest, act, binding: adHocBinding },
    taskId: null,
    runNo: null,
    stepNo: null,
    workflowId: null,
    attempt: 1,
    creator: { kind: 'user', id: 'u', name: 'u' },
    ownerId: 'u',
    commands: [{ commandId, agentId: 'a' }],
    local: new Map(),
  });
  return commandId;
}

/** Write a state past all domain code. Returns whether the trigger let it through. */
async function tryWrite(commandId: string, state: CommandState): Promise<boolean> {
  try {
    await db('commands').where({ command_id: commandId }).update({ state });
    return true;
  } catch (error) {
    if (isSqlState(error, sqlStates.restrictViolation)) return false;
    throw error;
  }
}

const allowed = (from: CommandState, to: CommandState): boolean =>
  from === to || commandEdges.some((edge) => edge.from === from && edge.to === to);

describe('the edge table', () => {
  it('is the trigger’s table, pair by pair', async () => {
    const { rows } = await db.raw(
      `select f as from_state, t as to_state, command_edge_allowed(f, t) as allowed
       from unnest(cast(:states as text[])) f, unnest(cast(:states as text[])) t`,
      { states: [...commandStates] } as never,
    );
    expect(rows).toHaveLength(commandStates.length ** 2);
    for (const row of rows as { from_state: CommandState; to_state: CommandState; allowed: boolean }[]) {
      const inCode = commandEdges.some((edge) => edge.from === row.from_state && edge.to === row.to_state);
      expect({ ...row, allowed: row.allowed }).toEqual({ ...row, allowed: inCode });
    }
  });

  it('gives every edge one writer, and agents alone the outcomes of a process', () => {
    for (const edge of commandEdges) {
      const same = commandEdges.filter((other) => other.from === edge.from && other.to === edge.to);
      expect(same).toHaveLength(1);
    }
    for (const outcome of ['succeeded', 'failed', 'timed_out'] as const) {
      expect(sourcesOf(outcome, 'server')).toEqual([]);
      expect(sourcesOf(outcome, 'agent')).toEqual(['sent', 'running', 'unknown']);
    }
    expect(sourcesOf('unknown', 'server')).toEqual(['sent', 'running']);
  });

  it('has no way out of a final state but the one resolution of `unknown`', () => {
    for (const from of finalCommandStates) {
      const targets = commandEdges.filter((edge) => edge.from === from);
      if (from === 'unknown') expect(targets.every((edge) => edge.by === 'agent')).toBe(true);
      else expect(targets).toEqual([]);
    }
  });

  it('holds against any sequence of writes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(...commandStates), { minLength: 1, maxLength: 8 }),
        async (targets) => {
          const commandId = await newCommand();
          let model: CommandState = 'queued';
          for (const target of targets) {
            const isWritten = await tryWrite(commandId, target);
            expect({ from: model, to: target, isWritten }).toEqual({
              from: model,
              to: target,
              isWritten: allowed(model, target),
            });
            if (isWritten) model = target;
          }
          const [row] = await db('commands').select('state').where({ command_id: commandId });
          expect(row?.state).toBe(model);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('keeps what was asked: act, agent and limits are write-once', async () => {
    const commandId = await newCommand();
    for (const change of [
      { timeout_ms: 5 },
      { agent_id: 'b' },
      { expires_at: new Date() },
      { output_cap_bytes: 1 },
    ]) {
      await expect(db('commands').where({ command_id: commandId }).update(change)).rejects.toMatchObject({
        code: sqlStates.restrictViolation,
      });
    }
    await expect(db('acts').where({ digest }).update({ step_no: 9 })).rejects.toMatchObject({
      code: sqlStates.restrictViolation,
    });
  });
});
