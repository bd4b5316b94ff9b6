/** Make, read, change and delete saved commands. Every change is a revision; what comes with the system stays. */
import { validate as isUuid, v7 as uuidv7 } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import {
  MAX_SAVED_COMMANDS,
  type SavedChange,
  type SavedCommandView,
  type SavedContent,
  type SavedListQuery,
  type SavedRevisionView,
} from '../../contracts/saved-commands.ts';
import type { Page } from '../../contracts/shared.ts';
import type { Trx } from '../../db/database.ts';
import {
  countOwnSavedCommands,
  findRevision,
  findSavedCommand,
  insertRevision,
  insertSavedCommand,
  listRevisions,
  listSavedCommands,
  lockSavedCommand,
  markSavedDeleted,
  type RevisionRow,
  type SavedCommandRow,
  setRevision,
} from '../../db/saved-commands.ts';
import { decodeCursor, encodeCursor, pageOfRows, uuidPositionOf } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { bodySha256, claimRequest, requestKeyOf } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { contentIssues } from './parameters.ts';

/** Newest first. @throws forbidden, invalid_cursor */
export async function listSavedPage(
  deps: DomainDeps,
  actor: Actor,
  query: SavedListQuery,
): Promise<Page<SavedCommandView>> {
  assertCan(actor.principal, 'list', 'saved_command');
  const { limit, cursor, category, tag } = query;
  const before = uuidPositionOf(cursor);
  const rows = await listSavedCommands(deps.db, { category, tag, before, limit: limit + 1 });
  const page = pageOfRows(rows, limit, (row) => ({ at: row.createdAt, id: row.id }));
  return { items: page.items.map(presentSaved), nextCursor: page.nextCursor };
}

/** @throws forbidden, saved_command_not_found */
export async function getSavedCommand(deps: DomainDeps, actor: Actor, id: string): Promise<SavedCommandView> {
  assertCan(actor.principal, 'read', 'saved_command');
  const row = isUuid(id) ? await findSavedCommand(deps.db, id) : undefined;
  if (row === undefined) throw notFound(id);
  return presentSaved(row);
}

/**
 * The same Idempotency-Key with the same content is the same saved command.
 * @throws forbidden, validation_failed, conflict (too many), idempotency_conflict
 */
export async function createSavedCommand(
  deps: DomainDeps,
  actor: Actor,
  content: SavedContent,
  idempotencyKey: string | null,
): Promise<SavedCommandView> {
  assertCan(actor.principal, 'create', 'saved_command');
  assertContent(actor, content);
  const id = await transact(deps, async (unit) => {
    const newId = uuidv7();
    const made = await claimRequest(
      unit.trx,
      actor.principal,
      requestKeyOf({ idempotencyKey }, content),
      'saved_command',
      newId,
    );
    if (made !== undefined) return made;
    if ((await countOwnSavedCommands(unit.trx)) >= MAX_SAVED_COMMANDS) {
      throw problem('conflict', { reason: `there are ${MAX_SAVED_COMMANDS} saved commands already` });
    }
    await insertSavedCommand(unit.trx, newId);
    await insertRevision(unit.trx, newId, 1, content, actor.principal);
    unit.audit(actor, { action: 'saved_command.create', ...auditFacts(newId, 1, content) });
    return newId;
  });
  return getSavedCommand(deps, actor, id);
}

/**
 * What is not given stays as it is.
 * @param change or what makes it of the present content, which nobody changes meanwhile
 * @throws forbidden, saved_command_not_found, system_command_protected, validation_failed, conflict (a newer revision)
 */
export function updateSavedCommand(
  deps: DomainDeps,
  actor: Actor,
  id: string,
  change: SavedChange | ((present: SavedContent) => SavedChange),
): Promise<SavedCommandView> {
  return changeSaved(deps, actor, id, async (_trx, present) => {
    const { revision, ...fields } = typeof change === 'function' ? change(present) : change;
    if (revision !== undefined && revision !== present.revision) {
      throw problem('conflict', { reason: `its revision is ${present.revision}` });
    }
    const given = Object.entries(fields).filter(([, value]) => value !== undefined);
    return { ...contentOf(present), ...Object.fromEntries(given) };
  });
}

/** @throws as `updateSavedCommand`; not_found where there is no such revision */
export function restoreRevision(
  deps: DomainDeps,
  actor: Actor,
  id: string,
  revision: number,
): Promise<SavedCommandView> {
  return changeSaved(deps, actor, id, async (trx) => {
    const earlier = await findRevision(trx, id, revision);
    if (earlier === undefined) throw problem('not_found');
    return contentOf(earlier);
  });
}

/** What it has run, and its revisions, stay in the records. @throws forbidden, saved_command_not_found, system_command_protected */
export async function deleteSavedCommand(deps: DomainDeps, actor: Actor, id: string): Promise<void> {
  assertCan(actor.principal, 'delete', 'saved_command');
  await transact(deps, async (unit) => {
    const present = await getForChange(unit, id, 'delete');
    await markSavedDeleted(unit.trx, id);
    unit.audit(actor, { action: 'saved_command.delete', ...auditFacts(id, present.revision, present) });
  });
}

/** Newest first. @throws forbidden, saved_command_not_found, invalid_cursor */
export async function listRevisionPage(
  deps: DomainDeps,
  actor: Actor,
  id: string,
  { limit, cursor }: { limit: number; cursor?: string | undefined },
): Promise<Page<SavedRevisionView>> {
  await getSavedCommand(deps, actor, id);
  const before = cursor === undefined ? undefined : revisionOf(cursor);
  const rows = await listRevisions(deps.db, id, { before, limit: limit + 1 });
  const items = rows.slice(0, limit);
  const last = rows.length > limit ? items.at(-1) : undefined;
  return {
    items: items.map(presentRevision),
    nextCursor: last === undefined ? null : encodeCursor(last.createdAt, String(last.revision)),
  };
}

function revisionOf(cursor: string): number {
  const { id } = decodeCursor(cursor);
  if (!/^\d{1,9}$/.test(id)) throw problem('invalid_cursor');
  return Number(id);
}

async function changeSaved(
  deps: DomainDeps,
  actor: Actor,
  id: string,
  change: (trx: Trx, present: SavedCommandRow) => Promise<SavedContent>,
): Promise<SavedCommandView> {
  assertCan(actor.principal, 'update', 'saved_command');
  await transact(deps, async (unit) => {
    const present = await getForChange(unit, id, 'modify');
    const content = await change(unit.trx, present);
    assertContent(actor, content);
    // Said again, it is no change.
    if (bodySha256(content) === bodySha256(contentOf(present))) return;
    const revision = present.revision + 1;
    await insertRevision(unit.trx, id, revision, content, actor.principal);
    await setRevision(unit.trx, id, revision);
    unit.audit(actor, { action: 'saved_command.update', ...auditFacts(id, revision, content) });
  });
  return getSavedCommand(deps, actor, id);
}

async function getForChange(unit: Unit, id: string, verb: 'modify' | 'delete'): Promise<SavedCommandRow> {
  const row = isUuid(id) ? await lockSavedCommand(unit.trx, id) : undefined;
  if (row === undefined) throw notFound(id);
  if (row.isSystem) throw problem('system_command_protected', { verb });
  return row;
}

/** What runs undecided is decided by whoever writes it. @throws forbidden, validation_failed */
function assertContent(actor: Actor, content: SavedContent): void {
  if (content.autoApprove) assertCan(actor.principal, 'decide', 'task');
  const issues = contentIssues(content);
  if (issues.length > 0) throw problem('validation_failed', {}, { issues });
}

const notFound = (id: string) => problem('saved_command_not_found', { savedCommandId: id });

const auditFacts = (id: string, revision: number, { name, autoApprove, scripts }: SavedContent) => ({
  targetKind: 'saved_command',
  targetId: id,
  details: { name, revision, autoApprove, scriptsSha256: bodySha256(scripts) },
});

const contentOf = (row: SavedContent): SavedContent => ({
  name: row.name,
  description: row.description,
  category: row.category,
  tags: row.tags,
  scripts: row.scripts,
  parameters: row.parameters,
  version: row.version,
  author: row.author,
  autoApprove: row.autoApprove,
});

const editorOf = (row: Pick<RevisionRow, 'editorKind' | 'editorId' | 'editorName'>) => ({
  kind: row.editorKind,
  id: row.editorId,
  name: row.editorName,
});

const presentSaved = (row: SavedCommandRow): SavedCommandView => ({
  id: row.id,
  ...contentOf(row),
  isSystem: row.isSystem,
  revision: row.revision,
  editedBy: editorOf(row),
  createdAt: row.createdAt.toISOString(),
  updatedAt: row.updatedAt.toISOString(),
});

const presentRevision = (row: RevisionRow): SavedRevisionView => ({
  ...contentOf(row),
  revision: row.revision,
  editedBy: editorOf(row),
  createdAt: row.createdAt.toISOString(),
});
