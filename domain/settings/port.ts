/** What the settings functions need of the process they run in. Built by the composition roots. */
import type { ModelTest, VisibleNamespace } from '../../contracts/settings.ts';
import type { DomainDeps } from '../deps.ts';
import type { SecretBox } from '../secret-box.ts';

/** A setting the server knows and reads. */
export interface SettingDefinition {
  namespace: Exclude<VisibleNamespace, 'custom'>;
  key: string;
  description: string;
  isSecret: boolean;
  unit: string | null;
  /** Text in force where nothing is stored, from the environment or a default; null: nothing. Never of a secret. */
  configured: string | null;
  /** Is there a value where nothing is stored? */
  isConfigured: boolean;
  /** What is wrong with a text, completing the sentence "<key> …"; null when nothing is. Never repeats the text. */
  problemOf(text: string): string | null;
}

/** Stored settings as plain text, by `namespace/key` (see `settingName`). */
export type SettingTexts = ReadonlyMap<string, string>;

export interface SettingsPort {
  definitions: readonly SettingDefinition[];
  /** What is wrong with texts that are each right; null when nothing is. */
  problemOfAll(texts: SettingTexts): { key: string; problem: string } | null;
  /** Take up what is stored now. @throws when the database is away; the next poll tries again */
  refresh(): Promise<void>;
  /** Ask the model with the settings in force. Never rejects for the model's sake: the answer says what was wrong. */
  testModel(signal: AbortSignal): Promise<ModelTest>;
  /** Is there a model, or does the mock answer? */
  hasModel(): boolean;
}

export interface SettingsDeps extends DomainDeps {
  secrets: SecretBox;
  settings: SettingsPort;
}

export const settingName = (namespace: string, key: string): string => `${namespace}/${key}`;
/** Under which name its value is sealed: another row's text does not open here. */
export const sealName = (namespace: string, key: string): string => `setting/${namespace}/${key}`;
