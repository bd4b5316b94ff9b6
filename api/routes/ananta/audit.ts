import { noStore } from '../../../contracts/auth.ts';
import {
  anantaAnalyzeAuditRoutes,
  anantaAuditLogsRoutes,
  anantaRotateTokenRoutes,
} from '../../../contracts/families/ananta/audit.ts';
import { analyzeAudit } from '../../../domain/audit/analyze.ts';
import { listAuditEvents } from '../../../domain/audit/read.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { rotateAgentToken } from '../../../domain/identity/agent-token.ts';
import type { IdentityDeps } from '../../../domain/identity/deps.ts';
import type { MountedRoute } from '../../mount.ts';
import { mountAll } from '../mount-all.ts';
import { success } from './envelope.ts';

/** `/audit-logs`, `/audit/analyze`, `/rotate-token`, and the same under `/api/system`. */
export function anantaAuditRoutes(deps: IdentityDeps): MountedRoute[] {
  return [
    ...mountAll(anantaAuditLogsRoutes, async (request) => {
      const { limit, offset } = request.query;
      const rows = await listAuditEvents(deps, request, { limit, offset });
      const data = rows.map(({ id, at, username, ip, action, details }) => ({
        id,
        timestamp: at.getTime() / 1000,
        username,
        ip,
        action,
        details,
      }));
      return { status: 200, body: success(data) };
    }),
    ...mountAll(anantaAnalyzeAuditRoutes, async (request) => {
      const { analysis } = await analyzeAudit(deps, request);
      return { status: 200, body: success({ analysis }) };
    }),
    ...mountAll(anantaRotateTokenRoutes, async (request) => {
      const { newToken } = await rotateAgentToken(deps, request, requestKeyOf(request, {}));
      const data = { status: 'rotated' as const, new_token: newToken };
      return { status: 200, headers: noStore, body: success(data) };
    }),
  ];
}
