import {
  anantaCreateTemplateRoute,
  anantaDeleteTemplateRoute,
  anantaListTemplatesRoute,
  anantaPatchTemplateRoute,
  anantaPutTemplateRoute,
} from '../../../contracts/families/ananta/templates.ts';
import type { TemplateView } from '../../../contracts/teams.ts';
import type { Actor, DomainDeps } from '../../../domain/deps.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import {
  createTemplate,
  deleteTemplate,
  listTemplates,
  updateTemplate,
  type WrittenTemplate,
} from '../../../domain/templates/templates.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import { success } from './envelope.ts';

/** `/templates` */
export function anantaTemplateRoutes(deps: DomainDeps): MountedRoute[] {
  const update = async (
    request: Actor & {
      params: { templateId: string };
      body: {
        name?: string | undefined;
        description?: string | null | undefined;
        prompt_template?: string | undefined;
      };
    },
  ) => {
    const { name, description, prompt_template: promptTemplate } = request.body;
    const { templateId } = request.params;
    const written = await updateTemplate(deps, request, templateId, { name, description, promptTemplate });
    return { status: 200 as const, body: success(presentWritten(written)) };
  };
  return [
    mount(anantaListTemplatesRoute, async (request) => {
      const templates = await listTemplates(deps, request);
      return { status: 200, body: success(templates.map(present)) };
    }),
    mount(anantaCreateTemplateRoute, async (request) => {
      const { name, description, prompt_template: promptTemplate } = request.body;
      const wish = { name, description: description ?? null, promptTemplate };
      const written = await createTemplate(deps, request, wish, requestKeyOf(request, wish));
      return { status: 201, body: success(presentWritten(written)) };
    }),
    mount(anantaPatchTemplateRoute, update),
    mount(anantaPutTemplateRoute, update),
    mount(anantaDeleteTemplateRoute, async (request) => {
      const { cleared } = await deleteTemplate(deps, request, request.params.templateId);
      const data = {
        status: 'deleted' as const,
        cleared: {
          roles: cleared.roles,
          team_type_links: cleared.teamTypeLinks,
          team_members: cleared.teamMembers,
          teams: cleared.teams,
        },
      };
      return { status: 200, body: success(data) };
    }),
  ];
}

const present = (template: TemplateView) => ({
  id: template.id,
  name: template.name,
  description: template.description,
  prompt_template: template.promptTemplate,
});

const presentWritten = ({ template, warnings }: WrittenTemplate) => ({
  ...present(template),
  ...(warnings.length > 0 && { warnings }),
});
