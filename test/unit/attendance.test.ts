import { expect, it } from 'vitest';
import { createAttendance } from '../../domain/tasks/attendance.ts';

const NEVER = new AbortController().signal;
const LONG_MS = 60_000;

it('hears of its batch, also when that was before it listened', async () => {
  const attendance = createAttendance({ places: 2 });
  const early = attendance.attend('early');
  const late = attendance.attend('late');
  attendance.tell(['early', 'of somebody else']);
  const heardLate = late?.heard(LONG_MS, NEVER);
  attendance.tell(['late']);
  expect(await early?.heard(LONG_MS, NEVER)).toBe(true);
  expect(await heardLate).toBe(true);
});

it('hears of its batch when the list was too long to be sent', async () => {
  const attendance = createAttendance({ places: 1 });
  const heard = attendance.attend('batch')?.heard(LONG_MS, NEVER);
  attendance.tell('*');
  expect(await heard).toBe(true);
});

it('stops when the time is up, and when it is told to', async () => {
  const attendance = createAttendance({ places: 1 });
  const attended = attendance.attend('batch');
  expect(await attended?.heard(1, NEVER)).toBe(false);
  expect(await attended?.heard(LONG_MS, AbortSignal.abort())).toBe(false);
  const stopping = new AbortController();
  const heard = attended?.heard(LONG_MS, stopping.signal);
  stopping.abort();
  expect(await heard).toBe(false);
});

it('has so many places and no more, and gives them back', () => {
  const attendance = createAttendance({ places: 1 });
  const first = attendance.attend('first');
  expect(first).toBeDefined();
  expect(attendance.attend('second')).toBeUndefined();
  first?.end();
  expect(attendance.attend('second')).toBeDefined();
});
