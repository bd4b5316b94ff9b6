import {
  type DexInstallerBody,
  dexCreateInstallerRoute,
  dexCreatePythonInstallerRoute,
  dexInstallerConfigRoute,
} from '../../../contracts/families/dex/installer.ts';
import { type CreateInstallerBody, createInstallerBodySchema } from '../../../contracts/installer.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { createInstaller, readInstallerDefaults } from '../../../domain/installer/package.ts';
import type { InstallerPort } from '../../../domain/installer/port.ts';
import { installerReplyOf } from '../../installer-reply.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/api/v1/installer` as dex clients know it. */
export function dexInstallerRoutes(deps: DomainDeps & { installer: InstallerPort }): MountedRoute[] {
  return [
    mount(dexCreateInstallerRoute, async (request) => {
      const wish = wishOf(request.body, 'javascript');
      return installerReplyOf(await createInstaller(deps, request, wish, requestKeyOf(request, wish)));
    }),
    mount(dexCreatePythonInstallerRoute, async (request) => {
      const wish = wishOf(request.body, 'python');
      return installerReplyOf(await createInstaller(deps, request, wish, requestKeyOf(request, wish)));
    }),
    mount(dexInstallerConfigRoute, async (request) => {
      const { serverUrl } = readInstallerDefaults(deps, request);
      const { tags, autoStart, runAsService, debug } = createInstallerBodySchema.parse({});
      return {
        status: 200,
        body: {
          server_url: serverUrl,
          api_token: '',
          agent_name: null,
          tags,
          auto_start: autoStart,
          run_as_service: runAsService,
          debug,
        },
      };
    }),
  ];
}

/** What is null or empty was not said. */
function wishOf(body: DexInstallerBody, kind: CreateInstallerBody['kind']): CreateInstallerBody {
  return createInstallerBodySchema.parse({
    kind,
    serverUrl: body.server_url || undefined,
    agentName: body.agent_name || undefined,
    tags: body.tags ?? undefined,
    autoStart: body.auto_start ?? undefined,
    runAsService: body.run_as_service ?? undefined,
    debug: body.debug ?? undefined,
  });
}
