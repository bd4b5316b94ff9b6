/** Which ids an agent may choose for itself. */
import { problem } from '../../contracts/errors.ts';

/** Literal path segments beside agent ids in the families' routes: an agent of that name could not be addressed. */
const reservedAgentIds: ReadonlySet<string> = new Set(
  `agent agents archived autopilot connected enrol enrolments export heartbeat new offline online register
   search seed stats status suggest-roles timeline unregister ws`.split(/\s+/),
);

/** @throws validation_failed when a client chose a word that routes use */
export function assertAgentIdFree(agentId: string): void {
  if (!reservedAgentIds.has(agentId.toLowerCase())) return;
  throw problem(
    'validation_failed',
    {},
    {
      issues: [
        { in: 'body', path: ['agentId'], message: 'this word is kept for the API', type: 'value_error' },
      ],
    },
  );
}
