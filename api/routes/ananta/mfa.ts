import { noStore } from '../../../contracts/auth.ts';
import {
  anantaMfaDisableRoutes,
  anantaMfaSetupRoutes,
  anantaMfaVerifyRoutes,
} from '../../../contracts/families/ananta/mfa.ts';
import type { IdentityDeps } from '../../../domain/identity/deps.ts';
import { disableMfa, setupMfa, verifyMfa } from '../../../domain/identity/mfa.ts';
import { reissueAccessToken } from '../../../domain/identity/own-session.ts';
import type { MountedRoute } from '../../mount.ts';
import { mountAll } from '../mount-all.ts';
import { given, success } from './envelope.ts';

/** `/mfa/setup`, `/mfa/verify`, `/mfa/disable`, and the same under `/api/auth`. */
export function anantaMfaRoutes(deps: IdentityDeps): MountedRoute[] {
  return [
    ...mountAll(anantaMfaSetupRoutes, async (request) => {
      const { secret, qrCode } = await setupMfa(deps, request);
      return { status: 200, headers: noStore, body: success({ secret, qr_code: qrCode }) };
    }),
    ...mountAll(anantaMfaVerifyRoutes, async (request) => {
      const token = given(request.body.token, 'Missing token');
      const { backupCodes } = await verifyMfa(deps, request, token);
      const data = {
        status: 'mfa_enabled' as const,
        access_token: await reissueAccessToken(deps, request),
        backup_codes: [...backupCodes],
      };
      return { status: 200, headers: noStore, body: success(data) };
    }),
    ...mountAll(anantaMfaDisableRoutes, async (request) => {
      const token = request.body.token || undefined;
      const password = request.body.password || undefined;
      if (token === undefined && password === undefined) given(null, 'Missing token or password');
      await disableMfa(deps, request, { token, password });
      const data = {
        status: 'mfa_disabled' as const,
        access_token: await reissueAccessToken(deps, request),
      };
      return { status: 200, headers: noStore, body: success(data) };
    }),
  ];
}
