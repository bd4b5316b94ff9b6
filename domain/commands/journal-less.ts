/**
 * Commands of agents that keep no journal (the dialects that other systems' agents speak). Such an agent is sent a
 * command at most once. Nothing says afterwards whether it has begun: when its connection ends before its answer, the
 * command is `unknown` at the next connection, or when the answer is overdue.
 */
import { findCommand } from '../../db/commands.ts';
import { oweAnswersSoon } from '../../db/journal-less.ts';
import type { DomainDeps } from '../deps.ts';

/** These commands have left: their answers are overdue after their timeout and the margin. */
export const expectAnswers = (deps: DomainDeps, commandIds: readonly string[]): Promise<void> =>
  oweAnswersSoon(deps.db, commandIds);

/** What a report about a command must name to count. */
export interface Evidence {
  digest: string;
  /** Of the connection the command was sent on. */
  journalId: string;
  outputCapBytes: number;
}

/**
 * What an answer to this command counts as, also when the agent connected again meanwhile: it was sent to this agent,
 * and its answer is still missing (`unknown` is resolved once). Undefined for everything else.
 */
export async function findEvidence(
  deps: DomainDeps,
  agentId: string,
  commandId: string,
): Promise<Evidence | undefined> {
  const row = await findCommand(deps.db, commandId);
  if (row === undefined || row.agentId !== agentId || row.sentJournalId === null) return undefined;
  const isMissing =
    row.state === 'sent' || row.state === 'running' || (row.state === 'unknown' && row.resolvedAt === null);
  if (!isMissing) return undefined;
  return { digest: row.digest, journalId: row.sentJournalId, outputCapBytes: row.outputCapBytes };
}
