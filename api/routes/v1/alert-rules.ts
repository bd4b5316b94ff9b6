import {
  createAlertRuleRoute,
  deleteAlertRuleRoute,
  getAlertRuleRoute,
  listAlertRulesRoute,
  updateAlertRuleRoute,
} from '../../../contracts/alert-rules.ts';
import { presentAlertRule } from '../../../domain/alerts/present.ts';
import {
  changeAlertRule,
  createAlertRule,
  getAlertRule,
  listAlertRulePage,
  removeAlertRule,
} from '../../../domain/alerts/rules.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/alert-rules` */
export function alertRuleRoutes(deps: DomainDeps): MountedRoute[] {
  return [
    mount(listAlertRulesRoute, async (request) => {
      const { items, nextCursor } = await listAlertRulePage(deps, request, request.query);
      return { status: 200, body: { items: items.map(presentAlertRule), nextCursor } };
    }),
    mount(createAlertRuleRoute, async (request) => {
      const requestKey = requestKeyOf(request, request.body);
      const rule = await createAlertRule(deps, request, request.body, requestKey);
      const headers = { Location: `/v1/alert-rules/${rule.id}` };
      return { status: 201, headers, body: presentAlertRule(rule) };
    }),
    mount(getAlertRuleRoute, async (request) => ({
      status: 200,
      body: presentAlertRule(await getAlertRule(deps, request, request.params.alertRuleId)),
    })),
    mount(updateAlertRuleRoute, async (request) => {
      const rule = await changeAlertRule(deps, request, request.params.alertRuleId, request.body);
      return { status: 200, body: presentAlertRule(rule) };
    }),
    mount(deleteAlertRuleRoute, async (request) => {
      await removeAlertRule(deps, request, request.params.alertRuleId);
      return { status: 204 };
    }),
  ];
}
