import { type BanView, liftBanRoute, listBansRoute, unlockUserRoute } from '../../../contracts/bans.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { liftBan, listBanPage, unlockUser } from '../../../domain/identity/bans.ts';
import { networkParts } from '../../../domain/identity/network.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/bans` and the lock-out of accounts. */
export function banRoutes(deps: DomainDeps): MountedRoute[] {
  return [
    mount(listBansRoute, async (request) => {
      const { items, nextCursor } = await listBanPage(deps, request, request.query);
      return { status: 200, body: { items: items.map(presentBan), nextCursor } };
    }),
    mount(liftBanRoute, async (request) => {
      await liftBan(deps, request, request.params.address);
      return { status: 204 };
    }),
    mount(unlockUserRoute, async (request) => {
      await unlockUser(deps, request, request.params.id);
      return { status: 204 };
    }),
  ];
}

const presentBan = (ban: Awaited<ReturnType<typeof listBanPage>>['items'][number]): BanView => ({
  ...networkParts(ban.network),
  failures: ban.failures,
  bannedAt: ban.bannedAt.toISOString(),
  expiresAt: ban.expiresAt.toISOString(),
});
