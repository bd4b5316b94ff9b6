/** Steps: proposal and decision, one row each. What ran is in the ledger. */
import type { Act, ActBinding } from '../contracts/act.ts';
import type { RiskLabel, StepDecision } from '../contracts/tasks.ts';
import { type ActRow, actColumns, rowToAct, type StoredAct } from './acts.ts';
import { execute, type Queryable, query, queryOne } from './database.ts';

export interface StepRow {
  taskId: string;
  runNo: number;
  stepNo: number;
  proposalId: string;
  origin: 'model' | 'person';
  authorKind: string;
  authorId: string;
  authorName: string;
  digest: string;
  act: Act;
  binding: ActBinding;
  agentIds: string[];
  batchDigest: string;
  reason: string;
  expectedEffect: string;
  riskLabel: RiskLabel;
  riskReasons: string[];
  proposedAt: Date;
  expiresAt: Date;
  decision: StepDecision | null;
  decidedKind: string | null;
  decidedId: string | null;
  decidedName: string | null;
  decidedAt: Date | null;
  decisionReason: string | null;
  originalDigest: string | null;
  batchId: string | null;
  model: string | null;
  mock: boolean;
  inputTokens: number;
  outputTokens: number;
  costUsd: number;
}

type PlainStep = Omit<StepRow, 'act' | 'binding'>;

const columnOf = {
  taskId: 'task_id',
  runNo: 'run_no',
  stepNo: 'step_no',
  proposalId: 'proposal_id',
  origin: 'origin',
  authorKind: 'author_kind',
  authorId: 'author_id',
  authorName: 'author_name',
  digest: 'digest',
  agentIds: 'agent_ids',
  batchDigest: 'batch_digest',
  reason: 'reason',
  expectedEffect: 'expected_effect',
  riskLabel: 'risk_label',
  riskReasons: 'risk_reasons',
  proposedAt: 'proposed_at',
  expiresAt: 'expires_at',
  decision: 'decision',
  decidedKind: 'decided_kind',
  decidedId: 'decided_id',
  decidedName: 'decided_name',
  decidedAt: 'decided_at',
  decisionReason: 'decision_reason',
  originalDigest: 'original_digest',
  batchId: 'batch_id',
  model: 'model',
  mock: 'mock',
  inputTokens: 'input_tokens',
  outputTokens: 'output_tokens',
  costUsd: 'cost_usd',
} as const satisfies Record<keyof PlainStep, string>;

const columns = Object.entries(columnOf)
  .map(([property, column]) => `s.${column} as "${property}"`)
  .join(', ');
/** The act's own digest column would collide with the step's; both are the same value. */
const joined = `${columns}, ${actColumns.replace('a.digest, ', '').replace('a.proposal_id', 'a.proposal_id as proposal_id')}`;

type JoinedStep = PlainStep & StoredAct;

function rowToStep(row: JoinedStep): StepRow {
  const { act, binding } = rowToAct(row);
  const { act: _act, task_run: _run, act_step_no: _step, proposal_id: _proposal, ...plain } = row;
  return { ...plain, act, binding };
}

export async function findStep(
  db: Queryable,
  taskId: string,
  runNo: number,
  stepNo: number,
): Promise<StepRow | undefined> {
  const row = await queryOne<JoinedStep>(
    db,
    `select ${joined} from steps s join acts a on a.digest = s.digest
     where s.task_id = :task_id and s.run_no = :run_no and s.step_no = :step_no`,
    { task_id: taskId, run_no: runNo, step_no: stepNo },
  );
  return row && rowToStep(row);
}

/** All steps of a run, in order. */
export async function listSteps(db: Queryable, taskId: string, runNo: number): Promise<StepRow[]> {
  const rows = await query<JoinedStep>(
    db,
    `select ${joined} from steps s join acts a on a.digest = s.digest
     where s.task_id = :task_id and s.run_no = :run_no order by s.step_no`,
    { task_id: taskId, run_no: runNo },
  );
  return rows.map(rowToStep);
}

export type NewStep = Omit<
  PlainStep,
  | 'proposedAt'
  | 'decision'
  | 'decidedKind'
  | 'decidedId'
  | 'decidedName'
  | 'decidedAt'
  | 'decisionReason'
  | 'originalDigest'
  | 'batchId'
>;

/** A decision that is made together with the proposal. */
export type DecidedWithStep = Pick<
  PlainStep,
  'decision' | 'decidedKind' | 'decidedId' | 'decidedName' | 'decidedAt' | 'decisionReason' | 'batchId'
>;

/** Write a proposal (decided already or not) and its act. The task row is locked, so nobody else writes this step. */
export async function insertStep(
  db: Queryable,
  step: NewStep & Partial<DecidedWithStep>,
  act: ActRow,
): Promise<void> {
  const properties = Object.keys(step) as (keyof NewStep | keyof DecidedWithStep)[];
  const bindings = Object.fromEntries(
    properties.map((property) => [`v_${columnOf[property]}`, step[property]]),
  );
  await execute(
    db,
    `with kept as (
       insert into acts (digest, act, task_run, step_no, proposal_id)
       values (:act_digest, cast(:act as jsonb), :act_task_run, :act_step_no, :act_proposal_id)
       on conflict (digest) do nothing
     )
     insert into steps (${properties.map((property) => columnOf[property]).join(', ')})
     values (${properties.map((property) => `:v_${columnOf[property]}`).join(', ')})`,
    {
      ...bindings,
      act_digest: act.digest,
      act: JSON.stringify(act.act),
      act_task_run: act.binding.taskRun,
      act_step_no: act.binding.step,
      act_proposal_id: act.binding.proposalId,
    },
  );
}

export interface DecisionPatch {
  decision: StepDecision;
  decidedBy: { kind: string; id: string; name: string };
  reason: string | null;
  /** The batch that the approved step becomes in the same transaction. */
  batchId?: string;
  /** An edit replaces the act: new digests, the editor as author, the new label. */
  edit?: {
    digest: string;
    batchDigest: string;
    riskLabel: RiskLabel;
    riskReasons: string[];
  };
}

/** Set the decision where it is null. Returns false when somebody else decided first. */
export async function decideStep(
  db: Queryable,
  key: { taskId: string; runNo: number; stepNo: number },
  patch: DecisionPatch,
): Promise<boolean> {
  const edit = patch.edit;
  const rows = await query(
    db,
    `update steps set decision = :decision, decided_kind = :kind, decided_id = :id, decided_name = :name,
            decided_at = now(), decision_reason = :reason, batch_id = cast(:batch_id as uuid)
            ${
              edit === undefined
                ? ''
                : `, original_digest = digest, digest = :digest, batch_digest = :batch_digest, risk_label = :risk_label,
                   risk_reasons = :risk_reasons, origin = 'person', author_kind = :kind, author_id = :id, author_name = :name`
            }
     where task_id = :task_id and run_no = :run_no and step_no = :step_no and decision is null
     returning step_no`,
    {
      decision: patch.decision,
      kind: patch.decidedBy.kind,
      id: patch.decidedBy.id,
      name: patch.decidedBy.name,
      reason: patch.reason,
      batch_id: patch.batchId ?? null,
      digest: edit?.digest ?? null,
      batch_digest: edit?.batchDigest ?? null,
      risk_label: edit?.riskLabel ?? null,
      risk_reasons: edit?.riskReasons ?? null,
      task_id: key.taskId,
      run_no: key.runNo,
      step_no: key.stepNo,
    },
  );
  return rows.length > 0;
}

export async function setStepBatch(
  db: Queryable,
  key: { taskId: string; runNo: number; stepNo: number },
  batchId: string,
): Promise<void> {
  await execute(
    db,
    'update steps set batch_id = :batch_id where task_id = :task_id and run_no = :run_no and step_no = :step_no',
    { batch_id: batchId, task_id: key.taskId, run_no: key.runNo, step_no: key.stepNo },
  );
}
