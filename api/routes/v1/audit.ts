import { exportAuditRoute, listAuditRoute } from '../../../contracts/audit.ts';
import { openAuditExport } from '../../../domain/audit/export.ts';
import { listAuditTrail } from '../../../domain/audit/read.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/audit`: who did what, for administrators. */
export function auditRoutes(deps: DomainDeps): MountedRoute[] {
  return [
    mount(listAuditRoute, async (request) => {
      return { status: 200, body: await listAuditTrail(deps, request, request.query) };
    }),
    mount(exportAuditRoute, async (request) => {
      const pieces = await openAuditExport(deps, request, request.query);
      return {
        status: 200,
        headers: {
          'Cache-Control': 'no-store',
          'Content-Disposition': 'attachment; filename="steelthread-audit.jsonl"',
        },
        body: asBytes(pieces),
      };
    }),
  ];
}

async function* asBytes(pieces: AsyncGenerator<string>): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) yield Buffer.from(piece);
}
