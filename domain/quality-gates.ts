/**
 * Quality gates: does what a step printed bear out that it did its work? A gate judges evidence, not truth: a command
 * that exits with 0 and says nothing has shown nothing.
 */
import { z } from 'zod';

/** Shortest output that counts as evidence unless the setting says otherwise, characters. */
const DEFAULT_MIN_OUTPUT_CHARS = 8;
const defaultKeywords = ['code', 'implement', 'fix', 'refactor', 'bug', 'test', 'feature', 'endpoint'];
const defaultMarkers = ['test', 'pytest', 'passed', 'success', 'lint', 'ok'];

const words = (values: readonly string[]) =>
  z
    .array(z.string())
    .catch([...values])
    .default([...values]);
const flag = (value: boolean) => z.boolean().catch(value).default(value);

/** The setting `quality_gates` as clients of the hub write it; what they leave out or write wrongly has its default. */
const qualityGatesSchema = z.object({
  enabled: flag(true),
  /** A gate that is not passed makes a completed step of a task that runs by itself a failed one. */
  autopilot_enforce: flag(true),
  /** The same for steps that a person or program executes itself and whose output they are shown. */
  execute_enforce: flag(false),
  min_output_chars: z.coerce
    .number()
    .int()
    .min(0)
    .catch(DEFAULT_MIN_OUTPUT_CHARS)
    .default(DEFAULT_MIN_OUTPUT_CHARS),
  coding_keywords: words(defaultKeywords),
  required_output_markers_for_coding: words(defaultMarkers),
});
export type QualityGates = z.infer<typeof qualityGatesSchema>;

/** @param setting the value of `quality_gates`, whatever it is */
export const readQualityGates = (setting: unknown): QualityGates => {
  const parsed = qualityGatesSchema.safeParse(setting ?? {});
  return parsed.success ? parsed.data : qualityGatesSchema.parse({});
};

export const gateReasons = [
  'quality_gates_disabled',
  'passed_generic',
  'passed_coding_markers',
  'non_zero_exit_code',
  'insufficient_output_evidence',
  'missing_coding_quality_markers',
] as const;
export type GateReason = (typeof gateReasons)[number];

export interface GateVerdict {
  isPassed: boolean;
  reason: GateReason;
}

/**
 * @param step `exitCode` null: it ended without one. `output` is what it printed, as far as it is looked at
 * @param task its words say whether it is about code
 */
export function judgeQuality(
  gates: QualityGates,
  step: { exitCode: number | null; output: string },
  task: { title: string; goal: string },
): GateVerdict {
  if (!gates.enabled) return { isPassed: true, reason: 'quality_gates_disabled' };
  if (step.exitCode !== 0) return { isPassed: false, reason: 'non_zero_exit_code' };
  const output = step.output.trim().toLowerCase();
  if (output.length < gates.min_output_chars)
    return { isPassed: false, reason: 'insufficient_output_evidence' };
  if (!holdsAny(`${task.title} ${task.goal}`.toLowerCase(), gates.coding_keywords)) {
    return { isPassed: true, reason: 'passed_generic' };
  }
  return holdsAny(output, gates.required_output_markers_for_coding)
    ? { isPassed: true, reason: 'passed_coding_markers' }
    : { isPassed: false, reason: 'missing_coding_quality_markers' };
}

const holdsAny = (text: string, wanted: readonly string[]): boolean =>
  wanted.some((word) => word !== '' && text.includes(word.toLowerCase()));
