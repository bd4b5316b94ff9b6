/** Every event name the system emits, in one place. An event says that something changed; the row says what is true. */
import { z } from 'zod';
import { timeSchema } from './shared.ts';

export const eventTypes = [
  'task.created',
  'task.handed_off',
  'task.assigned',
  'task.unassigned',
  'task.blocked',
  'task.unblocked',
  'task.waiting',
  'task.proposal_requested',
  'task.proposed',
  'task.decided',
  'task.step_started',
  'task.step_finished',
  'task.step_judged',
  'task.tools_run',
  'task.cancel_requested',
  'task.updated',
  'task.restarted',
  'task.completed',
  'task.failed',
  'task.canceled',
  'task.expired',
  'task.archived',
  'task.restored',
  'task.deleted',
  'command.queued',
  'command.sent',
  'command.started',
  'command.finished',
  'command.resolved',
  'command.cancel_requested',
  'batch.finished',
  'rollout.created',
  'rollout.batch_started',
  'rollout.batch_finished',
  'rollout.waiting',
  'rollout.awaiting_approval',
  'rollout.approved',
  'rollout.paused',
  'rollout.resumed',
  'rollout.cancel_requested',
  'rollout.completed',
  'rollout.failed',
  'rollout.canceled',
  'rollout.expired',
  'agent.enrolled',
  'agent.connected',
  'agent.disconnected',
  'agent.online',
  'agent.offline',
  'agent.updated',
  'agent.refresh_requested',
  'agent.duplicate_hostname',
  'agent.clone_suspected',
  'agent.revoked',
  'alert.opened',
  'alert.acknowledged',
  'alert.updated',
  'alert.resolved',
  'terminal.opened',
  'terminal.end_requested',
  'terminal.closed',
  'schedule.created',
  'schedule.updated',
  'schedule.deleted',
  'schedule.run_started',
  'schedule.run_waiting',
  'schedule.run_skipped',
  'schedule.run_missed',
  'schedule.run_finished',
  'session.revoked',
  'team.changed',
  'autopilot.changed',
  'setting.changed',
  'token.rotated',
  'webhook.disabled',
  'event.posted',
] as const;
export type EventType = (typeof eventTypes)[number];

/** Output is not an event row: it is announced in-process and by `command_output` reads (`output` in the stream). */
export const eventSchema = z
  .object({
    id: z
      .string()
      .meta({ description: '`<xmin at read>.<row id>`: give it back as Last-Event-ID to resume' }),
    type: z.enum(eventTypes),
    at: timeSchema,
    taskId: z.string().nullable(),
    commandId: z.string().nullable(),
    batchId: z.string().nullable(),
    agentId: z.string().nullable(),
    data: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'Event' });
export type EventView = z.infer<typeof eventSchema>;

/** NOTIFY channels. Payloads are ids only and only an edge: every listener also polls. */
export const channels = {
  /** Rows were added to `events`. Payload: id of the process that added them, which knows already; empty from others. */
  events: 'steelthread_events',
  /** Commands wait for, or a cancel concerns, these agents. Payload: comma-separated agent ids, or `*`. */
  agents: 'steelthread_agents',
  /** Output was stored. Payload: comma-separated command ids, or `*`. */
  output: 'steelthread_output',
  /** The outbox has due rows. Payload empty. */
  outbox: 'steelthread_outbox',
  /** Settings were changed, or the shared agent token was rotated. Payload empty. */
  settings: 'steelthread_settings',
  /** Schedules were changed: Temporal is to be told. Payload empty. */
  schedules: 'steelthread_schedules',
  /** Batches of tasks are in. Payload: comma-separated batch ids, or `*`. */
  batches: 'steelthread_batches',
} as const;

/** Keep events this long, days. */
export const EVENT_RETENTION_DAYS = 7;
