import { expect, test } from 'vitest';
import {
  errorTable,
  fillTemplate,
  isProblem,
  problem,
  renderErrorReference,
  titleOf,
} from '../../contracts/errors.ts';

test('the error reference is what the table renders to', async () => {
  await expect(renderErrorReference()).toMatchFileSnapshot('../../docs/reference/errors.md');
});

test('a problem carries status, text, cause and details of its code', () => {
  const cause = new Error('underneath');
  const error = problem(
    'task_not_open',
    { taskId: 't1', state: 'completed' },
    { cause, details: { state: 'completed' } },
  );
  expect(error).toMatchObject({
    code: 'task_not_open',
    status: 409,
    retryable: false,
    message: 'Task t1 has ended (completed)',
    details: { state: 'completed' },
    cause,
  });
  expect(isProblem(error)).toBe(true);
  expect(isProblem(error, 'task_not_open')).toBe(true);
  expect(isProblem(error, 'conflict')).toBe(false);
  expect(isProblem(cause)).toBe(false);
});

test('every row of the table is usable: a 4xx or 5xx status, a sentence, a title', () => {
  for (const [code, row] of Object.entries(errorTable)) {
    expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/);
    expect(row.status).toBeGreaterThanOrEqual(400);
    expect(row.status).toBeLessThan(600);
    expect(row.message.length).toBeGreaterThan(5);
  }
  expect(titleOf('malformed_json')).toBe('Malformed JSON');
  expect(titleOf('task_not_found')).toBe('Task not found');
});

test('a template keeps what it has no parameter for', () => {
  expect(fillTemplate('{a} and {b}', { a: 0 })).toBe('0 and {b}');
});
