import { anantaApproveRoute } from '../../../contracts/families/ananta/approve.ts';
import { answerApproval } from '../../../domain/commands/answer-approval.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** What the workers' code compares with, blank for blank. */
const APPROVED = '{"status": "approved"}';
const SKIP = 'SKIP';

/** `/approve` */
export function anantaApproveRoutes(deps: DomainDeps): MountedRoute[] {
  return [
    mount(anantaApproveRoute, async ({ principal, address, requestId, body }) => {
      const asked = { command: body.cmd, summary: body.summary ?? '' };
      const { isApproved } = await answerApproval(deps, { principal, address, requestId }, asked);
      return { status: 200, body: isApproved ? APPROVED : SKIP };
    }),
  ];
}
