import { expect, test } from 'vitest';
import {
  anantaStatuses,
  isEnded,
  parseAnantaStatus,
  statesOfStatus,
  steelStatuses,
  taskStates,
  toAnantaStatus,
  toSteelStatus,
} from '../../contracts/states.ts';

test('each state reads in each family as the contract says', () => {
  const table = taskStates.map((state) => [state, toAnantaStatus(state), toSteelStatus(state)]);
  expect(table).toEqual([
    ['created', 'created', 'pending'],
    ['assigned', 'assigned', 'pending'],
    ['proposing', 'proposing', 'running'],
    ['awaiting_decision', 'proposing', 'running'],
    ['running', 'in_progress', 'running'],
    ['blocked', 'blocked', 'pending'],
    ['completed', 'completed', 'completed'],
    ['failed', 'failed', 'failed'],
    ['canceled', 'cancelled', 'cancelled'],
    ['expired', 'failed', 'failed'],
  ]);
});

test('a filter by a family status finds exactly the tasks that read so', () => {
  for (const status of steelStatuses) {
    expect(statesOfStatus('steel', status)).toEqual(
      taskStates.filter((state) => toSteelStatus(state) === status),
    );
  }
  for (const status of anantaStatuses) {
    const reads = taskStates.filter((state) => toAnantaStatus(state, status) === status);
    expect(statesOfStatus('ananta', status)).toEqual(reads);
  }
  expect(statesOfStatus('steel', 'failed')).toEqual(['failed', 'expired']);
});

test('a task put back to todo keeps that word, but only while it is created', () => {
  expect(toAnantaStatus('created', 'todo')).toBe('todo');
  expect(toAnantaStatus('running', 'todo')).toBe('in_progress');
});

test.each([
  ['to-do', 'todo'],
  ['Backlog', 'todo'],
  ['In Progress', 'in_progress'],
  ['in-progress', 'in_progress'],
  ['done', 'completed'],
  ['COMPLETE', 'completed'],
  ['canceled', 'cancelled'],
  ['nonsense', undefined],
])('an ananta client that writes %s means %s', (text, status) => {
  expect(parseAnantaStatus(text)).toBe(status);
});

test('four states are ends', () => {
  expect(taskStates.filter(isEnded)).toEqual(['completed', 'failed', 'canceled', 'expired']);
});
