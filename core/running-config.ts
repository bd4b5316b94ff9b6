/**
 * What a process runs with now: its environment, and over it what administrators stored in `settings`. Domain and api are
 * handed the values they need.
 */
import { listOverridable, parseOverrides, problemOfOverride, problemOfValues } from '../config/overrides.ts';
import type { Config } from '../config.ts';
import type { Db } from '../db/database.ts';
import type { BudgetLimits } from '../domain/budget.ts';
import type { DomainLimits, Log } from '../domain/deps.ts';
import { currentAgentToken } from '../domain/identity/agent-token.ts';
import type { SecretBox } from '../domain/secret-box.ts';
import {
  type ModelTuning,
  modelSettingDefinitions,
  readModelTuning,
} from '../domain/settings/model-settings.ts';
import {
  type SettingDefinition,
  type SettingsPort,
  type SettingTexts,
  settingName,
} from '../domain/settings/port.ts';
import { createSettingsReader } from '../domain/settings/reader.ts';
import { checkModel } from '../llm/check.ts';
import { LlmError } from '../llm/port.ts';

/** How the language model is reached and asked. */
export interface ModelSettings extends ModelTuning {
  /** null: the mock answers. */
  apiKey: string | null;
  model: string;
  baseUrl: string;
}

export interface RunningConfig {
  /** The configuration as of now. Ask for it each time: what was read before may be out of date. */
  values(): Config;
  /** The same object until one of its values changes. */
  model(): ModelSettings;
  /** The shared agent token in force. */
  agentToken(): string | null;
  /** Bounds that follow the settings. */
  limits: DomainLimits;
  /** What the model may cost; follows the settings. */
  modelBudget: BudgetLimits;
  /** For the domain functions that read and change settings. */
  port: SettingsPort;
  /** Settles at the first good read; until then the environment alone is in force. */
  ready: Promise<void>;
  /** @throws when the database is away */
  refresh(): Promise<void>;
  close(): Promise<void>;
}

export function createRunningConfig(
  config: Config,
  deps: { db: Db; secrets: SecretBox; log: Log & { level?: string } },
): RunningConfig {
  const { log } = deps;
  let values = config;
  let model = modelOf(config, new Map());
  let agentToken = config.agentToken;

  const reader = createSettingsReader({
    ...deps,
    onChange(texts) {
      values = withOverrides(config, texts, log);
      const nextModel = modelOf(values, texts);
      if (JSON.stringify(nextModel) !== JSON.stringify(model)) model = nextModel;
      agentToken = currentAgentToken(config.agentToken, texts);
      // Loggers of tests have no level.
      if (log.level !== undefined && log.level !== values.logLevel) log.level = values.logLevel;
    },
  });

  return {
    values: () => values,
    model: () => model,
    agentToken: () => agentToken,
    limits: {
      get defaultTimeoutMs() {
        return values.defaultTimeoutMs;
      },
      get maxTimeoutMs() {
        return values.maxTimeoutMs;
      },
      get outputCapBytes() {
        return values.outputCapBytes;
      },
    },
    modelBudget: {
      get taskUsd() {
        return values.llmBudgetTaskUsd;
      },
      get userDayUsd() {
        return values.llmBudgetUserDayUsd;
      },
      get dayUsd() {
        return values.llmBudgetDayUsd;
      },
    },
    port: {
      definitions: definitionsOf(config),
      problemOfAll(texts) {
        const wrong = problemOfValues({ ...config, ...overridesOf(texts) });
        return wrong && { key: wrong.name, problem: wrong.problem };
      },
      refresh: reader.refresh,
      testModel: (signal) => testModel(model, signal),
      hasModel: () => model.apiKey !== null,
    },
    ready: reader.ready,
    refresh: reader.refresh,
    close: reader.close,
  };
}

const overridesOf = (texts: SettingTexts) => parseOverrides((name) => texts.get(settingName('config', name)));

function withOverrides(config: Config, texts: SettingTexts, log: Log): Config {
  const overridden = { ...config, ...overridesOf(texts) } as Config;
  const wrong = problemOfValues(overridden);
  if (wrong === null) return overridden;
  // Each was checked with the other when it was stored; the environment has changed since.
  log.warn({ event: 'settings_do_not_fit', variable: wrong.name, problem: wrong.problem });
  return { ...overridden, defaultTimeoutMs: overridden.maxTimeoutMs };
}

function modelOf(config: Config, texts: SettingTexts): ModelSettings {
  return {
    apiKey: config.anthropicApiKey,
    model: config.anthropicModel,
    baseUrl: config.anthropicBaseUrl,
    ...readModelTuning(texts),
  };
}

function definitionsOf(config: Config): SettingDefinition[] {
  const ofVariables = listOverridable().map((one): SettingDefinition => {
    const { name, description, secret, unit } = one.variable;
    const text = config.overridableTexts[name] ?? null;
    return {
      namespace: 'config',
      key: name,
      description,
      isSecret: secret === true,
      unit: unit ?? null,
      configured: secret === true ? null : text,
      isConfigured: text !== null,
      problemOf: (given) => problemOfOverride(one, given),
    };
  });
  return [...ofVariables, ...modelSettingDefinitions];
}

async function testModel(
  settings: ModelSettings,
  signal: AbortSignal,
): Promise<{ success: boolean; message: string; model: string }> {
  const { apiKey, model, baseUrl } = settings;
  if (apiKey === null) {
    return { success: false, message: 'ANTHROPIC_API_KEY is not set: a mock model answers', model: 'mock' };
  }
  try {
    const answeredBy = await checkModel({ apiKey, model, baseUrl }, signal);
    return { success: true, message: 'The model answered', model: answeredBy };
  } catch (error) {
    if (!(error instanceof LlmError)) throw error;
    return { success: false, message: error.message, model };
  }
}
