/** What executed steps and tool calls are held to: values that administrators keep in the hub's configuration. */
import type { Queryable } from '../db/database.ts';
import type { Log } from './deps.ts';
import { readHubConfigValue } from './hub-config/store.ts';
import { type QualityGates, readQualityGates } from './quality-gates.ts';
import { readToolGuardrails, type ToolGuardrails } from './tool-guardrails.ts';

/** Names of the values in the configuration. */
const GATES_KEY = 'quality_gates';
const GUARDRAILS_KEY = 'llm_tool_guardrails';

export interface PolicyDeps {
  db: Queryable;
  log: Log;
}

/** As they are now; defaults where nothing, or nothing that can be read, is stored. */
export const readGates = async (deps: PolicyDeps): Promise<QualityGates> =>
  readQualityGates(await readHubConfigValue(deps, GATES_KEY));

/** As `readGates`. */
export const readGuardrails = async (deps: PolicyDeps): Promise<ToolGuardrails> =>
  readToolGuardrails(await readHubConfigValue(deps, GUARDRAILS_KEY));
