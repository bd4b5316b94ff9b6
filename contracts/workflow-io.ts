/**
 * What crosses the border between workflow code and the rest: inputs, signals, activity arguments and results.
 * Ids and short facts only: a history never holds output, transcripts or command bytes.
 */
import type { RolloutChangedSignal } from './rollout-workflow.ts';
import type { TaskEnd, TaskMode } from './tasks.ts';
import type { WebhookDueSignal } from './webhook-workflow.ts';

export interface TaskWorkflowInput {
  taskId: string;
  runNo: number;
  mode: TaskMode;
  maxSteps: number;
  /** Milliseconds since the epoch. */
  deadlineAtMs: number;
  approvalTimeoutMs: number;
  /** Carried over by continue-as-new: the step to go on with, from 1. */
  step?: number;
  /** Likewise: manual mode, the newest step somebody asked a proposal for. */
  requestedStep?: number;
}

export interface TaskWorkflowResult {
  end: TaskEnd;
  steps: number;
}

/** Names of the signals; each only repeats what a committed row says. */
export const signalNames = {
  decided: 'decided',
  batchFinished: 'batchFinished',
  proposeRequested: 'proposeRequested',
  modeChanged: 'modeChanged',
  ended: 'ended',
  assigned: 'assigned',
  rolloutChanged: 'rolloutChanged',
  webhookDue: 'webhookDue',
} as const;

/** A decision was committed for a step. */
export interface DecidedSignal {
  step: number;
  /** `run`: a batch is out. `again`: rejected or voided, propose the next step. `hold`: approved, waits for execute (manual mode). */
  then: 'run' | 'again' | 'hold';
  batchId: string | null;
  /** With `run`: the outcome is judged by `judgeStep` before anything else follows. */
  judge?: true;
}

export interface BatchFinishedSignal {
  batchId: string;
}

/** Manual mode: somebody asked for a proposal. */
export interface ProposeRequestedSignal {
  step: number;
}

/** A task goes on by itself from now on, as its row says. */
export interface ModeChangedSignal {
  mode: TaskMode;
}

/** The task row reached an end (or is to be canceled once its batch is in). */
export interface EndedSignal {
  /** Null: a cancel was asked for while a batch is out; the workflow ends the task when the batch is in. */
  end: TaskEnd | null;
}

/** The task that waits for an agent was given one. */
export interface AssignedSignal {
  agentId: string;
}

export type WorkflowSignal =
  | { name: 'decided'; arg: DecidedSignal }
  | { name: 'batchFinished'; arg: BatchFinishedSignal }
  | { name: 'proposeRequested'; arg: ProposeRequestedSignal }
  | { name: 'modeChanged'; arg: ModeChangedSignal }
  | { name: 'ended'; arg: EndedSignal }
  | { name: 'assigned'; arg: AssignedSignal }
  | { name: 'rolloutChanged'; arg: RolloutChangedSignal }
  | { name: 'webhookDue'; arg: WebhookDueSignal };

export interface StepRef {
  taskId: string;
  runNo: number;
  step: number;
}

/** What `propose` found or did for a step, or for a later one (`step`) that quick steps before it led to. */
export type ProposeOutcome =
  /** The task is over (finished by this call, canceled before, or its run is not the row's). */
  | { kind: 'ended'; end: TaskEnd; step?: number }
  /** A proposal is written and waits for a decision until `expiresAtMs`. */
  | { kind: 'awaiting'; step: number; expiresAtMs: number }
  /** Decided already (policy, or by the time of a retry) and a batch is out. */
  | { kind: 'running'; step: number; batchId: string; judge?: true }
  /** Its batch is in; ask `judgeStep` after this long. */
  | { kind: 'judge'; step: number; afterMs: number }
  /** Approved and waiting to be executed (manual mode). */
  | { kind: 'held'; step: number }
  /** Over: its batch is in, or it was rejected or voided by the time of a retry. Go on with the next step. */
  | { kind: 'again'; step: number }
  /** No agent fits; ask again after `retryAfterMs`. */
  | { kind: 'waiting'; reason: string; retryAfterMs: number };

export type BatchStatus = { finished: boolean; pending: number };

/** Phases shown as the workflow's current details. */
export type TaskPhase =
  | 'proposing'
  | 'awaiting decision'
  | 'held'
  | 'running'
  | 'waiting for an agent'
  | 'on hold'
  | 'ending';

/** Activities of the task workflow; the worker's createActivities implements exactly this. */
export interface TaskActivities {
  /**
   * Claim, assign, ask the model, write the step (or finish the task). Idempotent per (task run, step). Where a step
   * runs undecided and its command ends in a moment, goes on with the next step.
   */
  propose(ref: StepRef): Promise<ProposeOutcome>;
  /** The approval timer fired. Returns what the row says now. */
  expireApproval(ref: StepRef): Promise<ProposeOutcome>;
  /**
   * The batch of a step whose execution is to be judged is in: run it again where another attempt was asked for and
   * this one has failed, else write the verdict, and end the task where the step is to end it.
   */
  judgeStep(ref: StepRef): Promise<ProposeOutcome>;
  /** Is the batch in? The backstop of a lost signal. */
  readBatch(batchId: string): Promise<BatchStatus>;
  /** End a task from the engine's side: cancel or expire. Cancels what is queued, asks agents to stop what runs. */
  endTask(ref: {
    taskId: string;
    runNo: number;
    end: 'canceled' | 'expired' | 'failed';
    reason: string;
    /** The deadline that was over. Absent: the workflow's worker is an older one and knows no `open`. */
    knownDeadlineAtMs?: number;
  }): Promise<EndTaskAnswer>;
}

export type EndTaskAnswer =
  | { kind: 'ended'; end: TaskEnd }
  | { kind: 'draining'; batchId: string }
  /** It was to expire, but its deadline is a later one: what it was on hold does not count. Ask again then. */
  | { kind: 'open'; deadlineAtMs: number };

/** Temporal delivery. */
export interface DeliverWorkflowInput {
  commandId: string;
  digest: string;
  agentId: string;
  /** Milliseconds until the delivery is given up. */
  expiresAtMs: number;
  timeoutMs: number;
  /** The agent is asked at its address, by our own worker. */
  byUrl?: true;
}

/** Hand a task to another installation. */
export interface DelegationWorkflowInput {
  /** Row id of the part that is handed on. */
  taskId: string;
}

/** What our own worker does in the name of agents with an address. */
export interface UrlAgentActivities {
  /** @returns why it was not asked, or null once it was: the row says what became of it */
  runOnUrlAgent(input: { commandId: string }): Promise<{ refused: string | null }>;
  sendDelegation(input: DelegationWorkflowInput): Promise<void>;
}

export interface AgentActivities {
  /** @returns why the claim was refused, or null once the result is stored: the row says what became of it */
  runCommand(input: { commandId: string; digest: string }): Promise<{ refused: string | null }>;
}

/** Queue of an agent's own activity worker. */
export const agentTaskQueue = (agentId: string): string => `agent-${agentId}`;
/** Workflow id of a task run: never a client's id. */
export const taskWorkflowId = (taskId: string, runNo: number): string => `task/${taskId}/${runNo}`;
export const rolloutWorkflowId = (rolloutId: string): string => `rollout/${rolloutId}`;
export const delegationWorkflowId = (taskId: string): string => `delegate/${taskId}`;
export const deliverWorkflowId = (commandId: string): string => `deliver/${commandId}`;
