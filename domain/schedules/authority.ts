/** In whose name a schedule runs: of whoever wrote its newest revision, with the rights of the moment it runs. */
import { problem } from '../../contracts/errors.ts';
import type { Principal } from '../../contracts/principal.ts';
import type { ScheduleAction } from '../../contracts/schedules.ts';
import type { Queryable } from '../../db/database.ts';
import type { ScheduleRow } from '../../db/schedules.ts';
import { findUser } from '../../db/users.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { systemPrincipal } from '../identity/identify.ts';
import { assertCan } from '../policy.ts';
import { assertMayLetRun } from '../tasks/let-run.ts';

export type ScheduleDeps = DomainDeps & {
  /** The holder of the shared agent token may do what an admin may (AGENT_TOKEN_ADMIN); default false. */
  agentTokenAdmin?: boolean | undefined;
};

/** @throws forbidden where the principal could not do by hand what the schedule does */
export function assertMayRun(principal: Principal, action: ScheduleAction): void {
  if (action.kind === 'task') {
    assertCan(principal, 'create', 'task');
    assertMayLetRun(principal, action.task);
    return;
  }
  if (action.kind === 'saved_command') assertCan(principal, 'execute', 'saved_command');
  assertCan(principal, 'execute', 'command');
}

/** @throws account_disabled, forbidden */
export async function getAuthority(
  db: Queryable,
  deps: Pick<ScheduleDeps, 'agentTokenAdmin'>,
  schedule: ScheduleRow,
): Promise<Actor> {
  const principal = await principalOfEditor(db, deps, schedule);
  assertMayRun(principal, schedule.action);
  return { principal, address: null, requestId: null };
}

async function principalOfEditor(
  db: Queryable,
  deps: Pick<ScheduleDeps, 'agentTokenAdmin'>,
  { editorKind, editorId }: ScheduleRow,
): Promise<Principal> {
  if (editorKind !== 'user') return systemPrincipal({ agentTokenAdmin: deps.agentTokenAdmin ?? false });
  const user = await findUser(db, editorId);
  if (user === undefined || !user.isActive) throw problem('account_disabled');
  return { kind: 'user', id: user.id, name: user.username, roles: [user.role], sessionId: null };
}
