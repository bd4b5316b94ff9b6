import type { UrlAgentActivities } from '../contracts/workflow-io.ts';
import { sendDelegation } from '../domain/url-agents/delegate.ts';
import type { UrlAgentDeps } from '../domain/url-agents/deps.ts';
import { runActivity } from './run-activity.ts';

/** Hand a task to another installation, and record whether that took it. */
export const createSendDelegation =
  (deps: UrlAgentDeps): UrlAgentActivities['sendDelegation'] =>
  ({ taskId }) =>
    runActivity(deps, (signal) => sendDelegation(deps, taskId, signal));
