/** Tokens that a task holds for others, sealed each for its own place. */
import type { SecretBox } from '../secret-box.ts';

/** Bearer token for the task's `callbackUrl`. */
export const callbackTokenName = (taskId: string): string => `task/${taskId}/callback_token`;
/** Token that whoever assigned the task gave for its agent. */
export const taskAgentTokenName = (taskId: string): string => `task/${taskId}/agent_token`;

/** What a process can seal with, where it can. */
export interface SealingDeps {
  secrets?: SecretBox;
}

/** @param taskId row uuid. @throws Error where the process has nothing to seal with */
export function sealTaskSecret({ secrets }: SealingDeps, name: string, token: string): string {
  if (secrets === undefined) throw new Error(`nothing to seal ${name} with`);
  return secrets.seal(name, token);
}
