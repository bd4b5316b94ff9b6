/**
 * What a request may ask of the hub's tools: how many calls, how many that change something, how much they may cost
 * together. Bounds only: the right to run tools is another question (`hub-tools/run.ts`).
 */
import { z } from 'zod';
import type { ToolClass } from './hub-tools/tool.ts';

/** Defaults of the setting `llm_tool_guardrails`. */
const DEFAULT_MAX_CALLS = 5;
/** Calls of the classes `write` and `admin` together. */
const DEFAULT_MAX_CHANGING_CALLS = 2;
const DEFAULT_MAX_COST_UNITS = 20;
const defaultCostUnits = { read: 1, write: 5, admin: 8, unknown: 3 } as const;

/** A tool that is not known is of this class. */
type CountedClass = ToolClass | 'unknown';
const changingClasses: readonly CountedClass[] = ['write', 'admin'];

/** What is no number of calls counts as not set. 0: without a bound. */
const bound = (value: number) => z.coerce.number().int().min(0).catch(value).default(value);
const numbers = z.record(z.string(), z.coerce.number().int().min(0).catch(0)).catch({}).default({});

/** The setting as clients of the hub write it; what they leave out or write wrongly has its default. */
const guardrailsSchema = z.object({
  enabled: z.boolean().catch(true).default(true),
  max_tool_calls_per_request: bound(DEFAULT_MAX_CALLS),
  max_external_calls_per_request: bound(DEFAULT_MAX_CHANGING_CALLS),
  max_estimated_cost_units_per_request: bound(DEFAULT_MAX_COST_UNITS),
  class_limits: numbers,
  class_cost_units: numbers,
  blocked_classes: z.array(z.string()).catch([]).default([]),
});
export type ToolGuardrails = z.infer<typeof guardrailsSchema>;

/** @param setting the value of `llm_tool_guardrails`, whatever it is */
export const readToolGuardrails = (setting: unknown): ToolGuardrails => {
  const parsed = guardrailsSchema.safeParse(setting ?? {});
  return parsed.success ? parsed.data : guardrailsSchema.parse({});
};

export interface GuardrailVerdict {
  isAllowed: boolean;
  /** Names of the tools that stand in the way, each once. */
  blockedTools: string[];
  blockedReasons: string[];
  /** What was counted, and the bounds. */
  guardrails: Record<string, unknown>;
}

/** @param classOf the class of a tool; undefined where there is no such tool */
export function checkToolCalls(
  calls: readonly { name: string }[],
  guardrails: ToolGuardrails,
  classOf: (name: string) => ToolClass | undefined,
): GuardrailVerdict {
  if (!guardrails.enabled) {
    return { isAllowed: true, blockedTools: [], blockedReasons: [], guardrails: { enabled: false } };
  }
  const blocked = new Set<string>();
  const reasons = new Set<string>();
  const counts: Partial<Record<CountedClass, number>> = {};
  let costUnits = 0;
  let changing = 0;
  for (const { name } of calls) {
    const toolClass: CountedClass = classOf(name) ?? 'unknown';
    const count = (counts[toolClass] ?? 0) + 1;
    counts[toolClass] = count;
    costUnits += guardrails.class_cost_units[toolClass] ?? defaultCostUnits[toolClass];
    if (changingClasses.includes(toolClass)) changing += 1;
    const block = (reason: string): void => {
      blocked.add(name);
      reasons.add(`${reason}:${toolClass}`);
    };
    const limit = guardrails.class_limits[toolClass] ?? 0;
    if (limit > 0 && count > limit) block('guardrail_class_limit_exceeded');
    if (guardrails.blocked_classes.includes(toolClass)) block('guardrail_class_blocked');
  }
  const bounds = [
    ['guardrail_max_tool_calls_exceeded', calls.length, guardrails.max_tool_calls_per_request],
    ['guardrail_max_external_calls_exceeded', changing, guardrails.max_external_calls_per_request],
    ['guardrail_max_estimated_cost_exceeded', costUnits, guardrails.max_estimated_cost_units_per_request],
  ] as const;
  for (const [reason, value, most] of bounds) {
    if (most === 0 || value <= most) continue;
    reasons.add(reason);
    // Which of them is one too many is nobody's to say: none runs.
    for (const { name } of calls) blocked.add(name);
  }
  return {
    isAllowed: reasons.size === 0,
    blockedTools: [...blocked],
    blockedReasons: [...reasons],
    guardrails: {
      enabled: true,
      calls: calls.length,
      counts_by_class: counts,
      external_calls: changing,
      estimated_cost_units: costUnits,
      max_tool_calls_per_request: guardrails.max_tool_calls_per_request,
      max_external_calls_per_request: guardrails.max_external_calls_per_request,
      max_estimated_cost_units_per_request: guardrails.max_estimated_cost_units_per_request,
    },
  };
}
