/** The newest commands of all tasks, with what they ran: for the log of everything. */
import type { Act } from '../contracts/act.ts';
import type { CommandState } from '../contracts/command-states.ts';
import { type Queryable, query } from './database.ts';

export interface RecentCommandRow {
  commandId: string;
  agentId: string;
  taskId: string | null;
  stepNo: number | null;
  state: CommandState;
  exitCode: number | null;
  act: Act;
  createdAt: Date;
  finishedAt: Date | null;
}

/** Newest first. @param ownerId only this principal's; undefined: everybody's */
export function listRecentCommands(
  db: Queryable,
  { ownerId, limit }: { ownerId: string | undefined; limit: number },
): Promise<RecentCommandRow[]> {
  return query<RecentCommandRow>(
    db,
    `select c.command_id as "commandId", c.agent_id as "agentId", t.public_id as "taskId", c.step_no as "stepNo",
            c.state, c.exit_code as "exitCode", a.act, c.created_at as "createdAt", c.finished_at as "finishedAt"
     from commands c join acts a on a.digest = c.digest left join tasks t on t.id = c.task_id
     ${ownerId === undefined ? '' : 'where c.owner_id = :owner_id'}
     order by c.created_at desc, c.command_id desc limit :limit`,
    { owner_id: ownerId ?? null, limit },
  );
}
