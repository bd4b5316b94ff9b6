import {
  createApiTokenRoute,
  listApiTokensRoute,
  revokeApiTokenRoute,
} from '../../../contracts/api-tokens.ts';
import { noStore } from '../../../contracts/auth.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import {
  createOwnApiToken,
  listOwnApiTokens,
  revokeOwnApiToken,
} from '../../../domain/identity/api-tokens.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/auth/tokens`: personal API tokens. */
export function apiTokenRoutes(deps: DomainDeps): MountedRoute[] {
  return [
    mount(listApiTokensRoute, async (request) => {
      return { status: 200, body: await listOwnApiTokens(deps, request, request.query) };
    }),
    mount(createApiTokenRoute, async (request) => {
      const requestKey = requestKeyOf(request, request.body);
      const created = await createOwnApiToken(deps, request, request.body, requestKey);
      return { status: 201, headers: noStore, body: created };
    }),
    mount(revokeApiTokenRoute, async (request) => {
      await revokeOwnApiToken(deps, request, request.params.tokenId);
      return { status: 204 };
    }),
  ];
}
