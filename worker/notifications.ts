/** What the worker's parts do when a notification comes, and when some may have been lost. */
import { channels } from '../contracts/events.ts';
import type { ListenerOptions } from '../db/listen.ts';
import type { Attendance } from '../domain/tasks/attendance.ts';
import type { Duties } from './duties/index.ts';

/** Channels to listen on. */
export const workerChannels = [channels.outbox, channels.batches, channels.settings, channels.schedules];

export const createNotified = ({
  duties,
  attendance,
  takeUpSettings,
}: {
  duties: Pick<Duties, 'wake'>;
  attendance: Pick<Attendance, 'tell'>;
  takeUpSettings(): void;
}): Pick<ListenerOptions, 'onNotify' | 'onReconnect'> => ({
  onNotify(channel, payload) {
    if (channel === channels.outbox) duties.wake('outbox_drainer');
    else if (channel === channels.settings) takeUpSettings();
    else if (channel === channels.schedules) duties.wake('schedule_sweep');
    else attendance.tell(payload === '*' ? payload : payload.split(','));
  },
  onReconnect() {
    duties.wake('outbox_drainer');
    duties.wake('schedule_sweep');
    attendance.tell('*');
    takeUpSettings();
  },
});
