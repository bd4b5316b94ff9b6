import {
  acknowledgeAlertRoute,
  alertSummaryRoute,
  getAlertRoute,
  listAlertsRoute,
  noteAlertRoute,
  resolveAlertRoute,
} from '../../../contracts/alerts.ts';
import {
  getAlert,
  listAlertPage,
  noteAlert,
  resolveAlert,
  summarizeAlerts,
  takeAlert,
} from '../../../domain/alerts/alerts.ts';
import { presentAlert } from '../../../domain/alerts/present.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/alerts` */
export function alertRoutes(deps: DomainDeps): MountedRoute[] {
  return [
    mount(listAlertsRoute, async (request) => {
      const { items, nextCursor } = await listAlertPage(deps, request, request.query);
      return { status: 200, body: { items: items.map(presentAlert), nextCursor } };
    }),
    mount(alertSummaryRoute, async (request) => ({
      status: 200,
      body: await summarizeAlerts(deps, request),
    })),
    mount(getAlertRoute, async (request) => ({
      status: 200,
      body: presentAlert(await getAlert(deps, request, request.params.alertId)),
    })),
    mount(noteAlertRoute, async (request) => ({
      status: 200,
      body: presentAlert(await noteAlert(deps, request, request.params.alertId, request.body.note)),
    })),
    mount(acknowledgeAlertRoute, async (request) => ({
      status: 200,
      body: presentAlert(await takeAlert(deps, request, request.params.alertId, request.body.note)),
    })),
    mount(resolveAlertRoute, async (request) => ({
      status: 200,
      body: presentAlert(await resolveAlert(deps, request, request.params.alertId, request.body.note)),
    })),
  ];
}
