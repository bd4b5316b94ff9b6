import { isProblem } from '../../../contracts/errors.ts';
import { MAX_STEEL_FRAME_BYTES } from '../../../contracts/families/steel/socket.ts';
import { can } from '../../../domain/policy.ts';
import { createSteelSocket, type SteelSocketDeps } from '../../events/steel-socket.ts';
import type { UpgradeRoute } from '../../upgrade.ts';
import { acceptUserSocket, identifyUpgrade, type UserSocketDeps } from '../../user-sockets.ts';

const right = { verb: 'list', resource: 'event' } as const;

/** `/ws`. Whoever may not have it, or has too many, is let in and closed with 1008 without a frame. */
export function steelUpgradeRoute(deps: SteelSocketDeps & UserSocketDeps): UpgradeRoute {
  return {
    path: '/ws',
    maxFrameBytes: MAX_STEEL_FRAME_BYTES,
    async handle(upgrade) {
      const principal = await identifyUpgrade(deps, upgrade);
      if (principal === null || !can(principal, right.verb, right.resource)) {
        return upgrade.refuse('a token of a user who may list events is needed');
      }
      try {
        await acceptUserSocket(deps, upgrade, { principal, right }, (ws, viewer) =>
          createSteelSocket(deps, ws, viewer),
        );
      } catch (error) {
        if (!isProblem(error, 'rate_limited')) throw error;
        await upgrade.refuse('too many open streams and sockets');
      }
    },
  };
}
