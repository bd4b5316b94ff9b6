/** Teams, team types and roles as ananta's clients know them. */
import { z } from 'zod';
import { defineRoute } from '../../route.ts';
import { settingTextSchema } from '../../settings.ts';
import {
  MAX_AGENT_REF_LENGTH,
  MAX_TEAM_DESCRIPTION_LENGTH,
  MAX_TEAM_MEMBERS,
  MAX_TEAM_NAME_LENGTH,
} from '../../teams.ts';
import { anantaSuccess } from '../ananta.ts';

const shared = { family: 'ananta', tags: ['ananta teams'], auth: 'user' } as const;
const team = { ...shared, resource: 'team' } as const;

export const anantaNameField = settingTextSchema(MAX_TEAM_NAME_LENGTH).trim().min(1);
export const anantaDescriptionField = settingTextSchema(MAX_TEAM_DESCRIPTION_LENGTH).nullish();
/** Ids are opaque to clients: one that cannot be ours is not found. */
export const anantaIdField = z.string().max(128);

const roleSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    description: z.string().nullable(),
    default_template_id: z.string().nullable(),
  })
  .meta({ id: 'AnantaTeamRole' });
export type AnantaTeamRole = z.infer<typeof roleSchema>;

const typeSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    description: z.string().nullable(),
    role_ids: z.array(z.string()),
    role_templates: z.record(z.string(), z.string().nullable()),
  })
  .meta({ id: 'AnantaTeamType' });
export type AnantaTeamType = z.infer<typeof typeSchema>;

const teamSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    description: z.string().nullable(),
    team_type_id: z.string().nullable(),
    is_active: z.boolean(),
    role_templates: z.record(z.string(), z.string()),
    members: z.array(
      z.object({
        id: z.string(),
        team_id: z.string(),
        agent_url: z.string(),
        role_id: z.string(),
        custom_template_id: z.string().nullable(),
      }),
    ),
  })
  .meta({ id: 'AnantaTeam' });
export type AnantaTeam = z.infer<typeof teamSchema>;

const deleted = { 200: anantaSuccess(z.object({ status: z.literal('deleted') })) };
const nameTaken = (code: string) => ({ conflict: { code } });

export const anantaListRolesRoute = defineRoute({
  ...team,
  method: 'GET',
  path: '/teams/roles',
  summary: 'List the roles that members of teams may have',
  rateClass: 'read',
  verb: 'list',
  replies: { 200: anantaSuccess(z.array(roleSchema)) },
});

export const anantaCreateRoleRoute = defineRoute({
  ...team,
  method: 'POST',
  path: '/teams/roles',
  summary: 'Make a role',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: z.object({
    name: anantaNameField,
    description: anantaDescriptionField,
    default_template_id: anantaIdField.nullish(),
  }),
  replies: { 201: anantaSuccess(roleSchema) },
  errors: [
    'template_not_found',
    'conflict',
    'invalid_request',
    'not_found',
    'idempotency_conflict',
    'service_unavailable',
  ],
  errorTexts: nameTaken('role_name_exists'),
});

const roleParams = z.object({ roleId: anantaIdField });

export const anantaDeleteRoleRoute = defineRoute({
  ...team,
  method: 'DELETE',
  path: '/teams/roles/{roleId}',
  summary: 'Delete a role that no member of a team has',
  rateClass: 'write',
  verb: 'delete',
  params: roleParams,
  replies: deleted,
  errors: ['not_found', 'conflict'],
  errorTexts: nameTaken('role_in_use'),
});

export const anantaListTypesRoute = defineRoute({
  ...team,
  method: 'GET',
  path: '/teams/types',
  summary: 'List team types with their roles',
  rateClass: 'read',
  verb: 'list',
  replies: { 200: anantaSuccess(z.array(typeSchema)) },
});

export const anantaCreateTypeRoute = defineRoute({
  ...team,
  method: 'POST',
  path: '/teams/types',
  summary: 'Make a team type',
  description: 'Scrum and Kanban come with their roles and templates, also when they were deleted before.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: z.object({ name: anantaNameField, description: anantaDescriptionField }),
  replies: { 201: anantaSuccess(typeSchema) },
  errors: ['conflict', 'invalid_request', 'not_found', 'idempotency_conflict', 'service_unavailable'],
  errorTexts: nameTaken('team_type_name_exists'),
});

const typeParams = z.object({ typeId: anantaIdField });

export const anantaDeleteTypeRoute = defineRoute({
  ...team,
  method: 'DELETE',
  path: '/teams/types/{typeId}',
  summary: 'Delete a team type; its teams stay, without a type',
  rateClass: 'write',
  verb: 'delete',
  params: typeParams,
  replies: deleted,
  errors: ['not_found'],
});

export const anantaListTypeRolesRoute = defineRoute({
  ...team,
  method: 'GET',
  path: '/teams/types/{typeId}/roles',
  summary: 'List the roles of a team type',
  rateClass: 'read',
  verb: 'list',
  params: typeParams,
  replies: { 200: anantaSuccess(z.array(roleSchema.extend({ template_id: z.string().nullable() }))) },
  errors: ['team_type_not_found'],
});

export const anantaLinkRoleRoute = defineRoute({
  ...team,
  method: 'POST',
  path: '/teams/types/{typeId}/roles',
  summary: 'Give a team type a role',
  description: 'Linked already: the template is replaced.',
  rateClass: 'write',
  verb: 'update',
  params: typeParams,
  body: z.object({ role_id: anantaIdField.nullish(), template_id: anantaIdField.nullish() }),
  replies: { 200: anantaSuccess(z.object({ status: z.literal('linked') })) },
  errors: ['role_id_required', 'team_type_not_found', 'role_not_found', 'template_not_found'],
});

const linkParams = z.object({ typeId: anantaIdField, roleId: anantaIdField });

export const anantaSetTypeTemplateRoute = defineRoute({
  ...team,
  method: 'PATCH',
  path: '/teams/types/{typeId}/roles/{roleId}',
  summary: 'Say which template speaks for a role in teams of this type',
  rateClass: 'write',
  verb: 'update',
  params: linkParams,
  body: z.object({ template_id: anantaIdField.nullish() }),
  replies: { 200: anantaSuccess(z.object({ status: z.literal('updated') })) },
  errors: ['not_found', 'template_not_found'],
});

export const anantaUnlinkRoleRoute = defineRoute({
  ...team,
  method: 'DELETE',
  path: '/teams/types/{typeId}/roles/{roleId}',
  summary: 'Take a role from a team type',
  rateClass: 'write',
  verb: 'update',
  params: linkParams,
  replies: { 200: anantaSuccess(z.object({ status: z.literal('unlinked') })) },
  errors: ['not_found'],
});

const memberField = z.object({
  agent_url: settingTextSchema(MAX_AGENT_REF_LENGTH).min(1).meta({
    description: "The agent's URL, id or host name. It may come later",
  }),
  role_id: anantaIdField.nullish(),
  custom_template_id: anantaIdField.nullish(),
});
export type AnantaMember = z.infer<typeof memberField>;
const membersField = z.array(memberField).max(MAX_TEAM_MEMBERS);

const memberErrors = [
  'role_id_required',
  'invalid_role_for_team_type',
  'role_not_found',
  'template_not_found',
  'team_type_not_found',
] as const;

export const anantaListTeamsRoute = defineRoute({
  ...team,
  method: 'GET',
  path: '/teams',
  summary: 'List the teams with their members',
  rateClass: 'read',
  verb: 'list',
  replies: { 200: anantaSuccess(z.array(teamSchema)) },
});

export const anantaCreateTeamRoute = defineRoute({
  ...team,
  method: 'POST',
  path: '/teams',
  summary: 'Make a team',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: z.object({
    name: anantaNameField,
    description: anantaDescriptionField,
    team_type_id: anantaIdField.nullish(),
    members: membersField.nullish(),
    is_active: z.boolean().nullish(),
  }),
  replies: { 201: anantaSuccess(teamSchema) },
  errors: [
    ...memberErrors,
    'conflict',
    'invalid_request',
    'not_found',
    'idempotency_conflict',
    'service_unavailable',
  ],
});

const teamParams = z.object({ teamId: anantaIdField });

export const anantaUpdateTeamRoute = defineRoute({
  ...team,
  method: 'PATCH',
  path: '/teams/{teamId}',
  summary: 'Change a team; what is not given stays as it is',
  rateClass: 'write',
  verb: 'update',
  params: teamParams,
  body: z.object({
    name: anantaNameField.nullish(),
    description: anantaDescriptionField,
    team_type_id: anantaIdField.nullish(),
    members: membersField.nullish(),
    is_active: z.boolean().nullish(),
  }),
  replies: { 200: anantaSuccess(teamSchema) },
  errors: ['not_found', ...memberErrors],
});

export const anantaDeleteTeamRoute = defineRoute({
  ...team,
  method: 'DELETE',
  path: '/teams/{teamId}',
  summary: 'Delete a team; its tasks stay, without a team',
  rateClass: 'write',
  verb: 'delete',
  params: teamParams,
  replies: deleted,
  errors: ['not_found'],
});

export const anantaActivateTeamRoute = defineRoute({
  ...team,
  method: 'POST',
  path: '/teams/{teamId}/activate',
  summary: 'Make this the active team, and no other',
  rateClass: 'write',
  verb: 'update',
  params: teamParams,
  replies: { 200: anantaSuccess(z.object({ status: z.literal('activated') })) },
  errors: ['not_found'],
});

export const anantaSetupScrumRoute = defineRoute({
  ...team,
  method: 'POST',
  path: '/teams/setup-scrum',
  summary: 'Make a Scrum team with its first tasks, and activate it',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: z.object({ name: anantaNameField.nullish() }).default({}),
  replies: {
    201: anantaSuccess(z.object({ team: teamSchema })).extend({ message: z.string() }),
  },
  errors: [
    'scrum_type_not_found',
    'invalid_request',
    'not_found',
    'idempotency_conflict',
    'service_unavailable',
  ],
});
