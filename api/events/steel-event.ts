import type { EventView } from '../../contracts/events.ts';
import type { SteelEvent } from '../../contracts/families/steel/events.ts';
import { steelTime } from '../../contracts/families/steel/time.ts';

/** An event of the house in the words of steel. */
export const presentSteelEvent = (event: EventView): SteelEvent => ({
  id: event.id,
  event: event.type,
  timestamp: steelTime(new Date(event.at)),
  task_id: event.taskId,
  run_id: event.taskId,
  command_id: event.commandId,
  agent_id: event.agentId,
  data: event.data,
});
