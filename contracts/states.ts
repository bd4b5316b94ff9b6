import { z } from 'zod';

/**
 * States of a task, and the one table that says how each family speaks of them (both ways).
 * The first word of a family's list is what it is told; the others are words it may use for the same state.
 */

export const taskStates = [
  'created',
  'assigned',
  'proposing',
  'awaiting_decision',
  'running',
  'blocked',
  'completed',
  'failed',
  'canceled',
  'expired',
] as const;
export const taskStateSchema = z.enum(taskStates).meta({ id: 'TaskState' });
export type TaskState = z.infer<typeof taskStateSchema>;

/** The four ends; every other state is open. */
export const endedTaskStates = [
  'completed',
  'failed',
  'canceled',
  'expired',
] as const satisfies readonly TaskState[];
export type TaskEnd = (typeof endedTaskStates)[number];

export const anantaStatuses = [
  'created',
  'todo',
  'assigned',
  'proposing',
  'in_progress',
  'blocked',
  'completed',
  'failed',
  'cancelled',
] as const;
export type AnantaStatus = (typeof anantaStatuses)[number];

export const steelStatuses = ['pending', 'running', 'completed', 'failed', 'cancelled'] as const;
export type SteelStatus = (typeof steelStatuses)[number];

interface FamilyStatuses {
  ananta: readonly [AnantaStatus, ...AnantaStatus[]];
  steel: readonly [SteelStatus, ...SteelStatus[]];
}

const statusesOfState: Record<TaskState, FamilyStatuses> = {
  created: { ananta: ['created', 'todo'], steel: ['pending'] },
  assigned: { ananta: ['assigned'], steel: ['pending'] },
  proposing: { ananta: ['proposing'], steel: ['running'] },
  awaiting_decision: { ananta: ['proposing'], steel: ['running'] },
  running: { ananta: ['in_progress'], steel: ['running'] },
  blocked: { ananta: ['blocked'], steel: ['pending'] },
  completed: { ananta: ['completed'], steel: ['completed'] },
  failed: { ananta: ['failed'], steel: ['failed'] },
  expired: { ananta: ['failed'], steel: ['failed'] },
  canceled: { ananta: ['cancelled'], steel: ['cancelled'] },
};

/** Spellings that clients of ananta use, after lower-casing and turning blanks and dashes into underscores. */
const anantaAliases: Readonly<Record<string, AnantaStatus>> = {
  to_do: 'todo',
  backlog: 'todo',
  done: 'completed',
  complete: 'completed',
  canceled: 'cancelled',
};

/** True for the four ends. */
export function isEnded(state: TaskState): state is TaskEnd {
  return endedTaskStates.some((end) => end === state);
}

/**
 * The status an ananta client is told. A task that its client put back to `todo` keeps that label while it is
 * `created`: both words mean the same state.
 */
export function toAnantaStatus(state: TaskState, label?: string): AnantaStatus {
  const words = statusesOfState[state].ananta;
  return words.find((word) => word === label) ?? words[0];
}

/** The status a steel client is told. */
export function toSteelStatus(state: TaskState): SteelStatus {
  return statusesOfState[state].steel[0];
}

/** The status meant by whatever an ananta client wrote (`To-Do`, `done`, `In Progress`); undefined when none is. */
export function parseAnantaStatus(text: string): AnantaStatus | undefined {
  const word = text
    .trim()
    .toLowerCase()
    .replaceAll(/[\s-]+/g, '_');
  return anantaAliases[word] ?? anantaStatuses.find((status) => status === word);
}

/** The states behind a family's status, for filters: steel `failed` is `failed` and `expired`. */
export function statesOfStatus(family: 'ananta', status: AnantaStatus): TaskState[];
export function statesOfStatus(family: 'steel', status: SteelStatus): TaskState[];
export function statesOfStatus(
  family: keyof FamilyStatuses,
  status: AnantaStatus | SteelStatus,
): TaskState[] {
  return taskStates.filter((state) => statusesOfState[state][family].some((word) => word === status));
}
