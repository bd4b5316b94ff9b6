/** Variables of templates: `{{name}}`, out of an allow-list that the hub's configuration may replace. */
import { problem } from '../../contracts/errors.ts';
import { defaultTemplateVariables, type TemplateWarning } from '../../contracts/teams.ts';
import type { Queryable } from '../../db/database.ts';
import type { Log } from '../deps.ts';
import { readHubConfigValue } from '../hub-config/store.ts';

const VARIABLE = /\{\{([A-Za-z0-9_]+)\}\}/g;
/** Names of a configured list that are used; more are of no use to anybody. */
const MAX_VARIABLES = 200;

export interface VariableRules {
  allowed: readonly string[];
  /** Refuse a template with other variables instead of warning. */
  isStrict: boolean;
}

/** `template_variables_allowlist` (a list of names) and `template_variable_validation.strict` of the configuration. */
export async function readVariableRules(deps: { db: Queryable; log: Log }): Promise<VariableRules> {
  const [names, validation] = await Promise.all([
    readHubConfigValue(deps, 'template_variables_allowlist'),
    readHubConfigValue(deps, 'template_variable_validation'),
  ]);
  const listed = Array.isArray(names) ? names.filter((name): name is string => typeof name === 'string') : [];
  const isStrict =
    typeof validation === 'object' &&
    validation !== null &&
    'strict' in validation &&
    validation.strict === true;
  return { allowed: listed.length > 0 ? listed.slice(0, MAX_VARIABLES) : defaultTemplateVariables, isStrict };
}

/** What nobody will fill in. @throws unknown_template_variables where the configuration is strict */
export function checkVariables(text: string, { allowed, isStrict }: VariableRules): TemplateWarning[] {
  const unknown = [...new Set([...text.matchAll(VARIABLE)].map(([, name]) => name ?? ''))].filter(
    (name) => !allowed.includes(name),
  );
  if (unknown.length === 0) return [];
  const names = unknown.join(', ');
  const warning: TemplateWarning = {
    type: 'unknown_variables',
    details: `Unknown variables: ${names}`,
    allowed: [...allowed],
  };
  if (isStrict) {
    const details = { warnings: [warning], allowed: warning.allowed, unknown_variables: unknown };
    throw problem('unknown_template_variables', { names }, { details });
  }
  return [warning];
}

/**
 * The template with its variables filled in, in one pass: what stands in a value is text and is never filled in again.
 * Names without a value stay as they are written.
 */
export const fillVariables = (text: string, values: ReadonlyMap<string, string>): string =>
  text.replace(VARIABLE, (written, name: string) => values.get(name) ?? written);
