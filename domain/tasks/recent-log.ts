/** The newest entries of the log of everything: what went to agents and came back, and what people did in terminals. */
import { actText } from '../../contracts/act.ts';
import { listRecentCommands, type RecentCommandRow } from '../../db/recent-commands.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan, visibleOwner } from '../policy.ts';
import { exitCodeOf } from './outcome-text.ts';

/** Characters of a command that an entry shows. */
const MAX_PREVIEW_LENGTH = 120;

export interface LogEntry {
  /** Seconds since the epoch. */
  timestamp: number;
  timestamp_iso: string;
  [field: string]: unknown;
}

/** Each gives its newest entries, as far as the actor may see them; the newest of all are shown. */
type LogSource = (deps: DomainDeps, actor: Actor, limit: number) => Promise<LogEntry[]>;
const sources: readonly LogSource[] = [readCommandEntries];

/** Oldest first. @throws forbidden */
export async function readRecentLog(deps: DomainDeps, actor: Actor, limit: number): Promise<LogEntry[]> {
  assertCan(actor.principal, 'list', 'command');
  const entries = await Promise.all(sources.map((read) => read(deps, actor, limit)));
  return entries
    .flat()
    .sort((a, b) => a.timestamp - b.timestamp)
    .slice(-limit);
}

async function readCommandEntries(deps: DomainDeps, actor: Actor, limit: number): Promise<LogEntry[]> {
  const ownerId = visibleOwner(actor.principal, 'command');
  const rows = await listRecentCommands(deps.db, { ownerId, limit });
  return rows.flatMap((row) => [
    entryOf(row, row.createdAt, { direction: 'out', preview: actText(row.act).slice(0, MAX_PREVIEW_LENGTH) }),
    ...(row.finishedAt === null
      ? []
      : [entryOf(row, row.finishedAt, { direction: 'in', state: row.state, exit_code: exitCodeOf(row) })]),
  ]);
}

const entryOf = (row: RecentCommandRow, at: Date, facts: Record<string, unknown>): LogEntry => ({
  timestamp: at.getTime() / 1000,
  timestamp_iso: at.toISOString(),
  agent: row.agentId,
  task_id: row.taskId,
  step: row.stepNo,
  command_id: row.commandId,
  ...facts,
});
