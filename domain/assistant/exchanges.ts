/** Every exchange with the assistant leaves an audit row: who asked, what it cost, how it ended. Never what was said. */
import { SteelthreadError } from '../../contracts/errors.ts';
import { insertAuditEvents } from '../../db/audit-events.ts';
import { LlmError, type Usage } from '../../llm/port.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { auditEntry } from '../transact.ts';
import type { Assistant } from './metered.ts';

export type AssistantDeps = DomainDeps & { assistant: Assistant };

export interface ExchangeFacts {
  action: string;
  targetKind: string;
  targetId: string;
  details: Record<string, unknown>;
}

/** Token use and price of an answer, as the audit trail tells them. */
export const usageDetails = ({ model, inputTokens, outputTokens, costUsd }: Usage) => ({
  model,
  inputTokens,
  outputTokens,
  costUsd,
});

/**
 * Ask the assistant and record it, also when that fails.
 * @param factsOf what is known beforehand, and of the answer once there is one
 */
export async function recordExchange<Answer>(
  deps: Pick<DomainDeps, 'db'>,
  actor: Actor,
  ask: () => Promise<Answer>,
  factsOf: (answer: Answer | undefined) => ExchangeFacts,
): Promise<Answer> {
  const record = (outcome: 'success' | 'failed', { details, ...facts }: ExchangeFacts, more = {}) =>
    insertAuditEvents(deps.db, [auditEntry(actor, { ...facts, outcome, details: { ...details, ...more } })]);
  let answer: Answer;
  try {
    answer = await ask();
  } catch (error) {
    await record('failed', factsOf(undefined), failureDetails(error));
    throw error;
  }
  await record('success', factsOf(answer));
  return answer;
}

/** A failed call may have been charged. */
function failureDetails(error: unknown): Record<string, unknown> {
  const code = error instanceof SteelthreadError ? error.code : 'aborted';
  const cause = error instanceof SteelthreadError ? error.cause : undefined;
  return { code, ...(cause instanceof LlmError && cause.usage && usageDetails(cause.usage)) };
}
