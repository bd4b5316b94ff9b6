/** Make, read, change and delete templates. */
import { validate as isUuid, v7 as uuidv7 } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import { MAX_TEMPLATES, type TemplateView, type TemplateWarning } from '../../contracts/teams.ts';
import { lockTeams } from '../../db/teams.ts';
import {
  type ClearedReferences,
  countTemplates,
  deleteTemplate as deleteRow,
  findTemplate,
  insertTemplate,
  isTemplateNameTaken,
  listTemplates as listRows,
  lockTemplate,
  updateTemplate as updateRow,
} from '../../db/templates.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import type { RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { findMade } from '../teams/claim.ts';
import { transact } from '../transact.ts';
import { checkVariables, readVariableRules } from './variables.ts';

/** A template, and what it says that nobody will fill in. */
export interface WrittenTemplate {
  template: TemplateView;
  warnings: TemplateWarning[];
}

/** In the order they were made. @throws forbidden */
export function listTemplates(deps: DomainDeps, actor: Actor): Promise<TemplateView[]> {
  assertCan(actor.principal, 'list', 'template');
  return listRows(deps.db);
}

/**
 * @throws forbidden, conflict (the name is taken), invalid_request (too many), unknown_template_variables,
 *   idempotency_conflict
 */
export async function createTemplate(
  deps: DomainDeps,
  actor: Actor,
  wish: { name: string; description?: string | null | undefined; promptTemplate: string },
  requestKey: RequestKey | null = null,
): Promise<WrittenTemplate> {
  assertCan(actor.principal, 'create', 'template');
  const warnings = checkVariables(wish.promptTemplate, await readVariableRules(deps));
  const template = await transact(deps, async (unit) => {
    await lockTeams(unit.trx);
    const id = uuidv7();
    const earlier = await findMade(unit, actor, requestKey, { kind: 'template', id }, (made) =>
      findTemplate(unit.trx, made),
    );
    if (earlier !== undefined) return earlier;
    if ((await countTemplates(unit.trx)) >= MAX_TEMPLATES) throw tooMany();
    const made = await insertTemplate(unit.trx, {
      id,
      name: wish.name,
      description: wish.description ?? null,
      promptTemplate: wish.promptTemplate,
    });
    if (made === undefined) throw nameTaken(wish.name);
    unit.audit(actor, {
      action: 'template.create',
      targetKind: 'template',
      targetId: id,
      details: { name: wish.name },
    });
    unit.emit('team.changed', { data: { change: 'template.created', templateId: id } });
    return made;
  });
  return { template, warnings };
}

/** What is not given stays as it is. @throws forbidden, not_found, conflict, unknown_template_variables */
export async function updateTemplate(
  deps: DomainDeps,
  actor: Actor,
  id: string,
  change: {
    name?: string | undefined;
    description?: string | null | undefined;
    promptTemplate?: string | undefined;
  },
): Promise<WrittenTemplate> {
  assertCan(actor.principal, 'update', 'template');
  const { name, description, promptTemplate } = change;
  const rules = await readVariableRules(deps);
  return transact(deps, async (unit) => {
    await lockTeams(unit.trx);
    const before = isUuid(id) ? await lockTemplate(unit.trx, id) : undefined;
    if (before === undefined) throw problem('not_found');
    const warnings = promptTemplate === undefined ? [] : checkVariables(promptTemplate, rules);
    const template = {
      id,
      name: name ?? before.name,
      description: description === undefined ? before.description : description,
      promptTemplate: promptTemplate ?? before.promptTemplate,
    };
    if (await isTemplateNameTaken(unit.trx, template.name, id)) throw nameTaken(template.name);
    await updateRow(unit.trx, template);
    unit.audit(actor, {
      action: 'template.update',
      targetKind: 'template',
      targetId: id,
      details: { name: template.name },
    });
    unit.emit('team.changed', { data: { change: 'template.updated', templateId: id } });
    return { template, warnings };
  });
}

/** What pointed at it is cleared. @throws forbidden, not_found */
export async function deleteTemplate(
  deps: DomainDeps,
  actor: Actor,
  id: string,
): Promise<{ cleared: ClearedReferences }> {
  assertCan(actor.principal, 'delete', 'template');
  return transact(deps, async (unit) => {
    await lockTeams(unit.trx);
    const before = isUuid(id) ? await lockTemplate(unit.trx, id) : undefined;
    if (before === undefined) throw problem('not_found');
    const cleared = await deleteRow(unit.trx, id);
    unit.audit(actor, {
      action: 'template.delete',
      targetKind: 'template',
      targetId: id,
      details: { name: before.name, cleared },
    });
    unit.emit('team.changed', { data: { change: 'template.deleted', templateId: id } });
    return { cleared };
  });
}

const tooMany = () => problem('invalid_request', { reason: `there are ${MAX_TEMPLATES} templates already` });
const nameTaken = (name: string) =>
  problem('conflict', { reason: `another template is called ${name}` }, { details: { name } });
