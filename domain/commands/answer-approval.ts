/**
 * Programs that are about to run a command of their own accord ask first. The answer is what policy says of exactly this
 * text; nothing is run here, and what they run is in no ledger.
 */
import { createHash } from 'node:crypto';
import type { Principal } from '../../contracts/principal.ts';
import { insertAuditEvents } from '../../db/audit-events.ts';
import { findControl } from '../danger/unseen.ts';
import type { DomainDeps } from '../deps.ts';
import { can } from '../policy.ts';
import { findAutoApproval } from '../saved-commands/auto-approve.ts';
import { auditEntry } from '../transact.ts';

/** Whoever asks; a stranger is nobody. */
export interface ApprovalAsker {
  principal: Principal | null;
  address: string | null;
  requestId: string | null;
}

export interface ApprovalAnswer {
  isApproved: boolean;
  /** For people and the audit trail. */
  reason: string;
}

/** Which refusals leave a row: whoever may ask without end must not be able to fill the trail. */
export interface DenialRows {
  /** @returns how many of the principal's were left out since the last row; null: this one is as well */
  admit(principalId: string): number | null;
}

/** Longest account of a command that is kept, characters. */
const MAX_SUMMARY_LENGTH = 200;

/**
 * Yes to a principal who may execute commands: it is their own decision. Yes to whom else is known for an instance of a
 * saved command that is marked `autoApprove`. No to everything else, and to everything a stranger asks. A label of
 * danger permits nothing and forbids nothing.
 */
export async function answerApproval(
  deps: DomainDeps,
  asker: ApprovalAsker,
  { command, summary }: { command: string; summary: string },
  denials: DenialRows,
): Promise<ApprovalAnswer> {
  const { principal } = asker;
  if (principal === null) return { isApproved: false, reason: 'nobody knows who asks' };
  const answer = await judge(deps, principal, command);
  const leftOutBefore = answer.isApproved ? 0 : denials.admit(principal.id);
  if (leftOutBefore === null) return answer;
  const entry = auditEntry(
    { ...asker, principal },
    {
      action: 'approval.answer',
      targetKind: 'command_text',
      // The text may hold secrets; whoever has it can tell that it is this one.
      targetId: createHash('sha256').update(command).digest('hex'),
      outcome: answer.isApproved ? 'success' : 'denied',
      details: {
        reason: answer.reason,
        summary: summary.slice(0, MAX_SUMMARY_LENGTH),
        ...(leftOutBefore > 0 && { leftOutBefore }),
      },
    },
  );
  await insertAuditEvents(deps.db, [entry]);
  return answer;
}

async function judge(deps: DomainDeps, principal: Principal, command: string): Promise<ApprovalAnswer> {
  if (command.trim() === '') return { isApproved: false, reason: 'the command is empty' };
  const hidden = findControl(command);
  if (hidden !== undefined) return { isApproved: false, reason: `the command holds ${hidden}` };
  if (can(principal, 'execute', 'command')) {
    return { isApproved: true, reason: 'whoever asks may execute commands' };
  }
  if (principal.kind === 'user' && !can(principal, 'propose', 'command')) {
    return { isApproved: false, reason: 'whoever asks may not even propose commands' };
  }
  for (const shell of ['sh', 'bash', 'powershell', 'cmd'] as const) {
    const saved = await findAutoApproval(deps.db, { shell, script: command });
    if (saved !== undefined) {
      return {
        isApproved: true,
        reason: `saved command ${saved.name} (${saved.savedCommandId}, revision ${saved.revision})`,
      };
    }
  }
  return { isApproved: false, reason: 'no policy lets it run undecided' };
}
