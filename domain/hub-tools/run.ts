/**
 * Running the hub's tools: only for administrators, only what the guardrails let pass, one after the other, each with
 * the rights of whoever asks. What came of each call is its own result; one that fails stops none of the others.
 */
import { isProblem, problem } from '../../contracts/errors.ts';
import { insertAuditEvents } from '../../db/audit-events.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { readGuardrails } from '../step-policies.ts';
import { checkToolCalls, type GuardrailVerdict } from '../tool-guardrails.ts';
import { auditEntry } from '../transact.ts';
import { createToolCatalogue } from './catalogue.ts';
import type { HubToolPorts } from './ports.ts';
import { type HubTool, type ToolCall, ToolInputError, type ToolResult } from './tool.ts';

/** Longest result of a call as JSON, characters; what is longer is told as text that is cut. */
export const MAX_TOOL_OUTPUT_LENGTH = 64 * 1024;
const SECRET_MASK = '***';

export interface HubTools {
  readonly tools: readonly HubTool[];
  /** What the guardrails in force say of these calls. Reads the configuration, runs nothing. */
  check(calls: readonly ToolCall[]): Promise<GuardrailVerdict>;
  /**
   * Check and run them. The caller has seen to it that they were confirmed.
   * @param why what is recorded with the run in the audit trail, for example the task
   * @throws forbidden, tool_guardrail_blocked (details as the family's clients read them)
   */
  run(
    actor: Actor,
    calls: readonly ToolCall[],
    why?: Readonly<Record<string, unknown>>,
  ): Promise<ToolResult[]>;
  /** The call as records may show it. */
  masked(call: ToolCall): ToolCall;
}

export function createHubTools(deps: DomainDeps, ports: HubToolPorts = {}): HubTools {
  const tools = createToolCatalogue(deps, ports);
  const byName = new Map(tools.map((tool) => [tool.name, tool]));

  const check = async (calls: readonly ToolCall[]): Promise<GuardrailVerdict> => {
    return checkToolCalls(calls, await readGuardrails(deps), (name) => byName.get(name)?.toolClass);
  };

  const runOne = async (actor: Actor, { name, args }: ToolCall): Promise<ToolResult> => {
    const failed = (error: string): ToolResult => ({ tool: name, success: false, output: null, error });
    const tool = byName.get(name);
    if (tool === undefined) return failed(`Tool '${name}' was not found`);
    try {
      return { tool: name, success: true, output: bounded(await tool.run(actor, args)), error: null };
    } catch (error) {
      if (error instanceof ToolInputError || isProblem(error)) return failed(error.message);
      deps.log.error({ event: 'hub_tool_failed', tool: name, err: error });
      return failed('Internal server error');
    }
  };

  return {
    tools,
    check,
    async run(actor, calls, why = {}) {
      assertCan(actor.principal, 'manage', 'system');
      const verdict = await check(calls);
      const record = (outcome: 'success' | 'denied', details: Record<string, unknown>) =>
        insertAuditEvents(deps.db, [
          auditEntry(actor, {
            action: 'tool.run',
            targetKind: 'tool',
            targetId: calls.map(({ name }) => name).join(','),
            outcome,
            details: { ...why, ...details },
          }),
        ]);
      if (!verdict.isAllowed) {
        await record('denied', { reasons: verdict.blockedReasons });
        throw guardrailProblem(verdict);
      }
      // Before the first of them runs: what was asked for is known even if the process dies in the middle.
      await record('success', { calls: calls.length });
      const results: ToolResult[] = [];
      for (const call of calls) results.push(await runOne(actor, call));
      return results;
    },
    masked({ name, args }) {
      const secret = byName.get(name)?.secretArgs ?? [];
      const shown = Object.entries(args).map(([key, value]) => [
        key,
        secret.includes(key) ? SECRET_MASK : value,
      ]);
      return { name, args: Object.fromEntries(shown) };
    },
  };
}

/** The refusal of calls that the guardrails do not let pass. */
export const guardrailProblem = ({ blockedTools, blockedReasons, guardrails }: GuardrailVerdict) =>
  problem(
    'tool_guardrail_blocked',
    { reasons: blockedReasons.join(', ') },
    { details: { blocked_tools: blockedTools, blocked_reasons: blockedReasons, guardrails } },
  );

function bounded(output: unknown): unknown {
  const json = JSON.stringify(output ?? null);
  return json.length <= MAX_TOOL_OUTPUT_LENGTH
    ? (output ?? null)
    : `${json.slice(0, MAX_TOOL_OUTPUT_LENGTH)}…`;
}
