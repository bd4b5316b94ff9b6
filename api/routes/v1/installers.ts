import { createInstallerRoute } from '../../../contracts/installer.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { createInstaller } from '../../../domain/installer/package.ts';
import type { InstallerPort } from '../../../domain/installer/port.ts';
import { installerReplyOf } from '../../installer-reply.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/installers`: packages of the agent. */
export function installerRoutes(deps: DomainDeps & { installer: InstallerPort }): MountedRoute[] {
  return [
    mount(createInstallerRoute, async (request) => {
      const { body } = request;
      return installerReplyOf(await createInstaller(deps, request, body, requestKeyOf(request, body)));
    }),
  ];
}
