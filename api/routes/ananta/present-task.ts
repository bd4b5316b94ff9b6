/** Tasks in the words of ananta. */

import type { EventType } from '../../../contracts/events.ts';
import type {
  AnantaTask,
  AnantaTimelineItem,
  AnantaTimelineType,
} from '../../../contracts/families/ananta/tasks.ts';
import { SECRET_MASK } from '../../../contracts/settings.ts';
import { toAnantaStatus } from '../../../contracts/states.ts';
import { agentRefOf } from '../../../domain/agents/resolve-ref.ts';
import type { TaskWithHistory } from '../../../domain/tasks/list-by-offset.ts';
import type { SharedTimelineItem } from '../../../domain/tasks/shared-timeline.ts';

/** Seconds since the epoch, with a fraction. */
const seconds = (date: Date): number => date.getTime() / 1000;

export const presentTask = ({ task, agentUrl, ...tried }: TaskWithHistory): AnantaTask => ({
  id: task.publicId,
  title: task.title || null,
  description: task.goal || null,
  status: toAnantaStatus(task.state, task.statusLabel ?? undefined),
  priority: task.priority,
  created_at: seconds(task.createdAt),
  updated_at: seconds(task.updatedAt),
  team_id: task.teamId,
  assigned_agent_url: task.agentId === null ? null : (agentUrl ?? agentRefOf(task.agentId)),
  assigned_role_id: task.roleId,
  history: tried.history.map((item) => ({ ...item })),
  last_proposal: tried.lastProposal === null ? null : { ...tried.lastProposal },
  last_output: tried.lastOutput,
  last_exit_code: tried.lastExitCode,
  callback_url: task.callbackUrl,
  callback_token: task.sealedCallbackToken === null ? null : SECRET_MASK,
  parent_task_id: task.parentTaskId,
  depends_on: task.dependsOn,
});

export const presentTimelineItem = (item: SharedTimelineItem): AnantaTimelineItem => ({
  event_type: timelineTypeOf(item),
  task_id: item.taskId,
  team_id: item.teamId,
  task_status: toAnantaStatus(item.state, item.statusLabel ?? undefined),
  timestamp: seconds(item.at),
  actor: item.actor,
  details: item.details,
});

function timelineTypeOf({ type, isStopped, details }: SharedTimelineItem): AnantaTimelineType {
  if (isStopped) return 'tool_guardrail_blocked';
  if (type === 'task.step_judged' && details.verdict === 'failed') return 'quality_gate_failed';
  return timelineTypes[type] ?? 'task_status_changed';
}

const timelineTypes: Partial<Record<EventType, AnantaTimelineType>> = {
  'task.created': 'task_created',
  'task.handed_off': 'task_handoff',
  'task.assigned': 'task_assigned',
  'task.unassigned': 'task_unassigned',
  'task.blocked': 'task_blocked',
  'task.unblocked': 'task_unblocked',
  'task.proposed': 'proposal_snapshot',
  'task.decided': 'proposal_decided',
  'task.step_started': 'execution_started',
  'task.step_judged': 'step_judged',
  'task.tools_run': 'execution_result',
  'command.finished': 'execution_result',
  'task.completed': 'task_completed',
  'task.failed': 'task_failed',
  'task.expired': 'task_failed',
  'task.canceled': 'task_cancelled',
};
