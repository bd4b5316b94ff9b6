import type { UrlAgentActivities } from '../contracts/workflow-io.ts';
import type { UrlAgentDeps } from '../domain/url-agents/deps.ts';
import { runOnUrlAgent } from '../domain/url-agents/run-command.ts';
import { runActivity } from './run-activity.ts';

/** Claim a command for an agent with an address, ask it there, and record what it said. */
export const createRunOnUrlAgent =
  (deps: UrlAgentDeps): UrlAgentActivities['runOnUrlAgent'] =>
  ({ commandId }) =>
    runActivity(deps, (signal) => runOnUrlAgent(deps, commandId, signal));
