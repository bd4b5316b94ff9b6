/** Variables that stored settings may override while the process runs: what they are, and how their texts are read. */
import { type ConfigKey, listVariables, type ParsedValues, type Variable } from './variables.ts';

/** Values of overridden variables under their keys in `Config`. */
export type OverriddenValues = Partial<ParsedValues>;

export interface OverridableVariable {
  key: ConfigKey;
  variable: Variable<unknown>;
}

export function listOverridable(): OverridableVariable[] {
  return listVariables().filter(({ variable }) => variable.settingsOverridable);
}

/** What is wrong with a text, completing the sentence "<NAME> …"; null when nothing is. Never repeats the text. */
export function problemOfOverride({ variable }: OverridableVariable, text: string): string | null {
  const result = variable.schema.safeParse(text);
  return result.success ? null : result.error.issues.map(({ message }) => message).join('; ');
}

/** The parsed values of these texts, by name of the variable. What cannot be read is left out. */
export function parseOverrides(textOf: (name: string) => string | undefined): OverriddenValues {
  const values: Partial<Record<ConfigKey, unknown>> = {};
  for (const { key, variable } of listOverridable()) {
    const text = textOf(variable.name);
    const result = text === undefined ? undefined : variable.schema.safeParse(text);
    if (result?.success) values[key] = result.data;
  }
  return values as OverriddenValues;
}

/** What is wrong with values that are each right: the variable's name and the rest of the sentence. */
export function problemOfValues(
  values: Pick<ParsedValues, 'defaultTimeoutMs' | 'maxTimeoutMs'>,
): { name: string; problem: string } | null {
  if (values.defaultTimeoutMs <= values.maxTimeoutMs) return null;
  return { name: 'DEFAULT_TIMEOUT', problem: 'is longer than MAX_TIMEOUT' };
}
