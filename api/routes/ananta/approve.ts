import { anantaApproveRoute } from '../../../contracts/families/ananta/approve.ts';
import { answerApproval } from '../../../domain/commands/answer-approval.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { createAdmission } from '../../admission.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** What the workers' code compares with, blank for blank. */
const APPROVED = '{"status": "approved"}';
const SKIP = 'SKIP';
/** Refusals of one principal that leave a row, as of other refusals (api/denials.ts). */
const MOST_DENIALS = 20;
const WINDOW_MS = 60_000;

/** `/approve` */
export function anantaApproveRoutes(deps: DomainDeps): MountedRoute[] {
  const denials = createAdmission({ most: MOST_DENIALS, windowMs: WINDOW_MS });
  return [
    mount(anantaApproveRoute, async ({ principal, address, requestId, body }) => {
      const asked = { command: body.cmd, summary: body.summary ?? '' };
      const { isApproved } = await answerApproval(deps, { principal, address, requestId }, asked, denials);
      return { status: 200, body: isApproved ? APPROVED : SKIP };
    }),
  ];
}
