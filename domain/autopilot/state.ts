/** Start, stop and look at the autopilot. */
import { validate as isUuid } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import { type SecurityLevel, securityLevels } from '../../contracts/teams.ts';
import {
  type AutopilotRow,
  countSessionTasks,
  findAutopilot,
  lockAutopilot,
  type SessionCounts,
  updateAutopilot,
} from '../../db/autopilot.ts';
import type { Queryable } from '../../db/database.ts';
import { findTeam } from '../../db/teams.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { assertMayLetRun } from '../tasks/let-run.ts';
import { transact } from '../transact.ts';

/**
 * How tasks run that the autopilot sets going. `auto` runs undecided only what a principal with the right has let run
 * before (domain/tasks/standing-approval.ts), so no level gives a task a right that it has not.
 */
export const modeOfLevel = {
  safe: 'supervised',
  balanced: 'auto',
  aggressive: 'auto',
} as const satisfies Record<SecurityLevel, string>;

export interface AutopilotStatus extends AutopilotRow, SessionCounts {}

export interface AutopilotWish {
  intervalMs?: number | undefined;
  maxConcurrency?: number | undefined;
  goal?: string | undefined;
  /** Null: whichever team is active. */
  teamId?: string | null | undefined;
  budgetLabel?: string | undefined;
  /** An unknown one is `safe`. */
  securityLevel?: string | undefined;
}

/** @throws forbidden */
export async function getAutopilotStatus(deps: DomainDeps, actor: Actor): Promise<AutopilotStatus> {
  assertCan(actor.principal, 'read', 'team');
  return statusOf(deps.db, await getRow(deps.db));
}

/**
 * What is not given stays as it was. Running already: only changes it; otherwise the counts begin anew.
 * @throws forbidden, not_found (the team)
 */
export async function startAutopilot(
  deps: DomainDeps,
  actor: Actor,
  wish: AutopilotWish,
): Promise<AutopilotStatus> {
  assertCan(actor.principal, 'update', 'team');
  const { securityLevel, teamId, ...rest } = wish;
  return transact(deps, async (unit) => {
    if (teamId && (!isUuid(teamId) || (await findTeam(unit.trx, teamId)) === undefined)) {
      throw problem('not_found');
    }
    const before = await lockRow(unit.trx);
    const begin = before.running ? {} : freshCounts(before);
    const row = await updateAutopilot(unit.trx, {
      ...rest,
      ...(teamId !== undefined && { teamId }),
      ...(securityLevel !== undefined && { securityLevel: levelOf(securityLevel) }),
      ...begin,
      running: true,
    });
    assertMayLetRun(actor.principal, { mode: modeOfLevel[row.securityLevel], preApproved: [] });
    unit.audit(actor, {
      action: 'autopilot.start',
      targetKind: 'autopilot',
      targetId: String(row.session),
      details: {
        wasRunning: before.running,
        teamId: row.teamId,
        intervalMs: row.intervalMs,
        maxConcurrency: row.maxConcurrency,
        securityLevel: row.securityLevel,
        budgetLabel: row.budgetLabel,
      },
    });
    unit.emit('autopilot.changed', { data: { running: true, session: row.session } });
    return statusOf(unit.trx, row);
  });
}

/** What it has set going goes on. @throws forbidden */
export async function stopAutopilot(deps: DomainDeps, actor: Actor): Promise<AutopilotStatus> {
  assertCan(actor.principal, 'update', 'team');
  return transact(deps, async (unit) => {
    const before = await lockRow(unit.trx);
    if (!before.running) return statusOf(unit.trx, before);
    const row = await updateAutopilot(unit.trx, { running: false });
    unit.audit(actor, {
      action: 'autopilot.stop',
      targetKind: 'autopilot',
      targetId: String(row.session),
      details: { tickCount: row.tickCount, dispatchedCount: row.dispatchedCount },
    });
    unit.emit('autopilot.changed', { data: { running: false, session: row.session } });
    return statusOf(unit.trx, row);
  });
}

const freshCounts = ({ session }: AutopilotRow) => ({
  session: session + 1,
  tickCount: 0,
  dispatchedCount: 0,
  lastError: null,
  lastReason: null,
  isStarted: true as const,
});

const levelOf = (text: string): SecurityLevel =>
  securityLevels.find((level) => level === text.trim().toLowerCase()) ?? 'safe';

async function lockRow(db: Queryable): Promise<AutopilotRow> {
  return assertRow(await lockAutopilot(db));
}

async function getRow(db: Queryable): Promise<AutopilotRow> {
  return assertRow(await findAutopilot(db));
}

function assertRow(row: AutopilotRow | undefined): AutopilotRow {
  if (row === undefined) throw new Error('the row of the autopilot is missing');
  return row;
}

export async function statusOf(db: Queryable, row: AutopilotRow): Promise<AutopilotStatus> {
  return { ...row, ...(await countSessionTasks(db, row.session)) };
}
