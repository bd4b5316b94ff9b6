/** Tasks that were handed to another installation, each part of a task of this one. */
import { execute, type Queryable, query, queryOne } from './database.ts';

export type DelegationState = 'sending' | 'accepted' | 'failed';

export interface DelegationRow {
  /** Row id of the part. */
  taskId: string;
  parentId: string;
  agentId: string;
  callbackUrl: string;
  sealedCallbackToken: string | null;
  state: DelegationState;
  /** What the other side said when it took it. */
  response: unknown;
  /** Why it did not. */
  failure: string | null;
  /** As it was reported last, in the family's words. */
  reportedStatus: string | null;
  lastOutput: string | null;
  lastExitCode: number | null;
  reportedAt: Date | null;
  createdAt: Date;
}

const columns = `d.task_id as "taskId", d.parent_id as "parentId", d.agent_id as "agentId",
  d.callback_url as "callbackUrl", d.sealed_callback_token as "sealedCallbackToken", d.state, d.response, d.failure,
  d.reported_status as "reportedStatus", d.last_output as "lastOutput", d.last_exit_code as "lastExitCode",
  d.reported_at as "reportedAt", d.created_at as "createdAt"`;

export const insertDelegation = (
  db: Queryable,
  row: Pick<DelegationRow, 'taskId' | 'parentId' | 'agentId' | 'callbackUrl'> & {
    callbackTokenHash: Buffer;
    sealedCallbackToken: string;
  },
): Promise<void> =>
  execute(
    db,
    `insert into delegations (task_id, parent_id, agent_id, callback_url, callback_token_hash, sealed_callback_token)
     values (:taskId, :parentId, :agentId, :callbackUrl, :callbackTokenHash, :sealedCallbackToken)`,
    row,
  );

export const findDelegation = (db: Queryable, taskId: string): Promise<DelegationRow | undefined> =>
  queryOne<DelegationRow>(
    db,
    `select ${columns} from delegations d where d.task_id = cast(:taskId as uuid)`,
    {
      taskId,
    },
  );

/** The part that a token may speak of. */
export async function findTaskOfCallbackToken(db: Queryable, hash: Buffer): Promise<string | undefined> {
  const row = await queryOne<{ taskId: string }>(
    db,
    'select task_id as "taskId" from delegations where callback_token_hash = :hash',
    { hash },
  );
  return row?.taskId;
}

/** How the sending ended; the first word counts. @returns false when it had ended */
export async function endSending(
  db: Queryable,
  taskId: string,
  end: { state: 'accepted' | 'failed'; response: unknown; failure: string | null },
): Promise<boolean> {
  const row = await queryOne(
    db,
    `update delegations set state = :state, response = cast(:response as jsonb), failure = :failure,
            sealed_callback_token = null
     where task_id = cast(:taskId as uuid) and state = 'sending' returning task_id`,
    {
      taskId,
      state: end.state,
      response: end.response === undefined ? null : JSON.stringify(end.response),
      failure: end.failure,
    },
  );
  return row !== undefined;
}

export const writeReport = (
  db: Queryable,
  taskId: string,
  report: { status: string; lastOutput: string | null; lastExitCode: number | null },
): Promise<void> =>
  execute(
    db,
    `update delegations set reported_status = :status, last_output = coalesce(:lastOutput, last_output),
            last_exit_code = coalesce(:lastExitCode, last_exit_code), reported_at = clock_timestamp()
     where task_id = cast(:taskId as uuid)`,
    { taskId, ...report },
  );

export interface ReportedPartRow extends DelegationRow {
  parentId: string;
  publicId: string;
  goal: string;
}

/** Of tasks: themselves where they were handed on, and their parts that were, as far as anything was reported. */
export const listReported = (
  db: Queryable,
  taskIds: readonly string[],
  limit: number,
): Promise<ReportedPartRow[]> =>
  query<ReportedPartRow>(
    db,
    `select ${columns}, t.public_id as "publicId", t.goal
     from delegations d join tasks t on t.id = d.task_id
     where (d.task_id = any(cast(:ids as uuid[])) or d.parent_id = any(cast(:ids as uuid[])))
       and d.reported_at is not null
     order by d.reported_at desc, d.task_id limit :limit`,
    { ids: [...taskIds], limit },
  );
