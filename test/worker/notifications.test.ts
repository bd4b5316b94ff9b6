import { expect, it } from 'vitest';
import { channels } from '../../contracts/events.ts';
import { createAttendance } from '../../domain/tasks/attendance.ts';
import { createNotified } from '../../worker/notifications.ts';

const NEVER = new AbortController().signal;

it('whoever attends a batch looks at it again when notifications may have been lost', async () => {
  const attendance = createAttendance({ places: 1 });
  const woken: string[] = [];
  const notified = createNotified({
    duties: { wake: (name) => woken.push(name) },
    attendance,
    takeUpSettings: () => woken.push('settings'),
  });
  const attended = attendance.attend('batch');
  notified.onReconnect();
  expect(await attended?.heard(0, NEVER)).toBe(true);
  expect(woken.sort()).toEqual(['outbox_drainer', 'schedule_sweep', 'settings']);
});

it('a list of batches reaches those who attend them', async () => {
  const attendance = createAttendance({ places: 2 });
  const notified = createNotified({
    duties: { wake: () => expect.unreachable() },
    attendance,
    takeUpSettings: () => expect.unreachable(),
  });
  const attended = attendance.attend('batch');
  const other = attendance.attend('other');
  notified.onNotify(channels.batches, 'somebody else,batch');
  expect(await attended?.heard(0, NEVER)).toBe(true);
  expect(await other?.heard(0, NEVER)).toBe(false);
});
