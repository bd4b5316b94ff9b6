/** Who may set something going that can run without a decision of its own. */
import type { Principal } from '../../contracts/principal.ts';
import type { TaskRow } from '../../db/tasks.ts';
import { assertCan, can } from '../policy.ts';

/**
 * What a task in mode `auto` runs undecided runs in the name of its creator, whose rights are those of an account. So a
 * token that may not decide sets nothing going by which its owner's right to decide is used.
 * @throws forbidden
 */
export function assertMayLetRun(
  principal: Principal,
  { mode, preApproved }: Pick<TaskRow, 'mode' | 'preApproved'>,
): void {
  if (preApproved.length > 0) assertCan(principal, 'decide', 'task');
  if (mode !== 'auto' || principal.scopes === undefined) return;
  const { scopes: _scopes, ...owner } = principal;
  if (can(owner, 'decide', 'task')) assertCan(principal, 'decide', 'task');
}
