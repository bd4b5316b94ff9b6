import { noStore } from '../../../contracts/auth.ts';
import {
  deleteSettingRoute,
  getSettingRoute,
  listSettingsRoute,
  putSettingRoute,
  rotateSharedTokenRoute,
  testModelRoute,
} from '../../../contracts/settings.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { rotateAgentToken } from '../../../domain/identity/agent-token.ts';
import type { IdentityDeps } from '../../../domain/identity/deps.ts';
import { askModel } from '../../../domain/settings/ask-model.ts';
import { changeSettings, getSetting, listSettings } from '../../../domain/settings/store.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/settings`, and the shared agent token. */
export function settingRoutes(deps: IdentityDeps): MountedRoute[] {
  return [
    mount(listSettingsRoute, async (request) => ({
      status: 200,
      body: { items: await listSettings(deps, request) },
    })),
    mount(getSettingRoute, async (request) => {
      const { namespace, key } = request.params;
      return { status: 200, body: await getSetting(deps, request, namespace, key) };
    }),
    mount(putSettingRoute, async (request) => {
      const { namespace, key } = request.params;
      await changeSettings(deps, request, [{ namespace, key, ...request.body }]);
      return { status: 200, body: await getSetting(deps, request, namespace, key) };
    }),
    mount(deleteSettingRoute, async (request) => {
      const { namespace, key } = request.params;
      await changeSettings(deps, request, [{ namespace, key, value: null }]);
      return { status: 204 };
    }),
    mount(testModelRoute, async (request) => ({
      status: 200,
      body: await askModel(deps, request, request.signal),
    })),
    mount(rotateSharedTokenRoute, async (request) => {
      const { newToken } = await rotateAgentToken(deps, request, requestKeyOf(request, {}));
      return { status: 200, headers: noStore, body: { agentToken: newToken } };
    }),
  ];
}
