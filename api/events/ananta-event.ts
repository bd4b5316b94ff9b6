import type { EventType, EventView } from '../../contracts/events.ts';
import type { AnantaEvent } from '../../contracts/families/ananta/system.ts';
import { type AnantaStatus, type TaskState, taskStates, toAnantaStatus } from '../../contracts/states.ts';

/** Where a task stands after an event, if the event says so. */
const stateAfter: Partial<Record<EventType, TaskState>> = {
  'task.created': 'created',
  'task.assigned': 'assigned',
  'task.proposal_requested': 'proposing',
  'task.proposed': 'awaiting_decision',
  'task.step_started': 'running',
  'task.restarted': 'created',
  'task.completed': 'completed',
  'task.failed': 'failed',
  'task.canceled': 'canceled',
  'task.expired': 'expired',
};

/** An event of the house in the words of ananta. */
export function presentAnantaEvent(event: EventView): AnantaEvent {
  const status = statusAfter(event);
  return {
    type: event.type.replaceAll('.', '_'),
    data: {
      ...event.data,
      ...(event.taskId !== null && { task_id: event.taskId }),
      ...(event.agentId !== null && { agent_id: event.agentId }),
      ...(event.commandId !== null && { command_id: event.commandId }),
      ...(status !== undefined && { status }),
    },
    timestamp: Date.parse(event.at) / 1_000,
    id: event.id,
  };
}

function statusAfter({ type, data }: EventView): AnantaStatus | undefined {
  if (!type.startsWith('task.')) return undefined;
  const said = taskStates.find((state) => state === data.state);
  const state = stateAfter[type] ?? said;
  return state && toAnantaStatus(state);
}
