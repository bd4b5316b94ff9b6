import { dexSystemHealthRoute, dexSystemInfoRoute } from '../../../contracts/families/dex/system.ts';
import type { ReadResources } from '../../../domain/stats/stats.ts';
import { createHostReader } from '../../host-report.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/api/v1/system` as dex clients know it. Whether all that the server needs is there is told by `/readyz`. */
export function dexSystemRoutes({
  serverVersion,
  readResources,
}: {
  serverVersion: string;
  readResources: ReadResources;
}): MountedRoute[] {
  const readHost = createHostReader(readResources);
  return [
    mount(dexSystemInfoRoute, async () => {
      const host = await readHost();
      return {
        status: 200,
        body: {
          hostname: host.hostname,
          os_version: host.osVersion,
          cpu_usage: host.cpuPercent,
          memory_usage: host.memoryPercent,
          disk_usage: host.diskPercents,
          version: serverVersion,
        },
      };
    }),
    mount(dexSystemHealthRoute, async () => ({
      status: 200,
      body: { status: 'healthy', service: 'DexAgents API' },
    })),
  ];
}
