import { z } from 'zod';
import { problem } from '../../../contracts/errors.ts';
import { defineRoute } from '../../../contracts/route.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import { type Checks, runChecks } from '../../readiness.ts';

const steelHealthz = defineRoute({
  family: 'steel',
  method: 'GET',
  path: '/healthz',
  auth: 'public',
  rateClass: 'unlimited',
  tags: ['service'],
  summary: 'Say that the server and its database are healthy',
  replies: { 200: z.object({ status: z.literal('ok') }) },
  errors: ['database_unavailable'],
  errorTexts: { database_unavailable: { status: 500, message: 'DB unavailable' } },
});

/** The probe of steel. Whether all that the server needs is there is told by `/readyz`. */
export function steelHealthRoutes({ checks }: { checks: Checks }): MountedRoute[] {
  return [
    mount(steelHealthz, async () => {
      const { database } = checks;
      const { database: result } = await runChecks(database === undefined ? {} : { database });
      if (result?.ok !== true) throw problem('database_unavailable');
      return { status: 200, body: { status: 'ok' } };
    }),
  ];
}
