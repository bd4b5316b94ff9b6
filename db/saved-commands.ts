/** Saved commands, their revisions and what they have run. A revision is written once; a change is a new one. */

import type { SavedContent } from '../contracts/saved-commands.ts';
import { execute, type Queryable, query, queryOne } from './database.ts';
import { lockKeys } from './lock-keys.ts';

export interface RevisionRow extends SavedContent {
  revision: number;
  editorKind: string;
  editorId: string;
  editorName: string;
  createdAt: Date;
}

/** A saved command with the content of its present revision. */
export interface SavedCommandRow extends SavedContent {
  id: string;
  isSystem: boolean;
  revision: number;
  editorKind: string;
  editorId: string;
  editorName: string;
  createdAt: Date;
  updatedAt: Date;
}

const contentColumns = `r.name, r.description, r.category, r.tags, r.scripts, r.parameters, r.version, r.author,
  r.auto_approve as "autoApprove", r.editor_kind as "editorKind", r.editor_id as "editorId",
  r.editor_name as "editorName"`;
const columns = `s.id, s.is_system as "isSystem", s.revision, s.created_at as "createdAt",
  s.updated_at as "updatedAt", ${contentColumns}`;
const revisionColumns = `r.revision, r.created_at as "createdAt", ${contentColumns}`;
const present = `saved_commands s
  join saved_command_revisions r on r.saved_command_id = s.id and r.revision = s.revision`;

export async function countOwnSavedCommands(db: Queryable): Promise<number> {
  await execute(db, 'select pg_advisory_xact_lock(:key)', { key: lockKeys.savedCommands });
  const row = await queryOne<{ count: number }>(
    db,
    'select count(*) as count from saved_commands where deleted_at is null and not is_system',
  );
  return row?.count ?? 0;
}

export const findSavedCommand = (db: Queryable, id: string): Promise<SavedCommandRow | undefined> =>
  queryOne<SavedCommandRow>(
    db,
    `select ${columns} from ${present} where s.id = :id and s.deleted_at is null`,
    {
      id,
    },
  );

/** Its row is locked until the end of the transaction. */
export async function lockSavedCommand(db: Queryable, id: string): Promise<SavedCommandRow | undefined> {
  await execute(db, 'select id from saved_commands where id = :id for update', { id });
  return findSavedCommand(db, id);
}

export interface SavedFilter {
  category?: string | undefined;
  tag?: string | undefined;
  before: { at: Date; id: string } | undefined;
  limit: number;
}

/** Newest first, keyset by (created_at, id). */
export function listSavedCommands(db: Queryable, filter: SavedFilter): Promise<SavedCommandRow[]> {
  const { sql, bindings } = listSavedSql(filter);
  return query<SavedCommandRow>(db, sql, bindings);
}

export function listSavedSql({ category, tag, before, limit }: SavedFilter) {
  const conditions = [
    's.deleted_at is null',
    ...(before === undefined ? [] : ['(s.created_at, s.id) < (:at, cast(:id as uuid))']),
    ...(category === undefined ? [] : ['r.category = :category']),
    ...(tag === undefined ? [] : [':tag = any(r.tags)']),
  ];
  return {
    sql: `select ${columns} from ${present} where ${conditions.join(' and ')}
          order by s.created_at desc, s.id desc limit :limit`,
    bindings: {
      limit,
      ...(before && { at: before.at, id: before.id }),
      ...(category !== undefined && { category }),
      ...(tag !== undefined && { tag }),
    },
  };
}

/** Those that tasks may run undecided. They are few. */
export const listAutoApproved = (db: Queryable): Promise<SavedCommandRow[]> =>
  query<SavedCommandRow>(
    db,
    `select ${columns} from ${present} where s.deleted_at is null and r.auto_approve order by s.id`,
  );

export type Editor = { kind: string; id: string; name: string };

export async function insertSavedCommand(db: Queryable, id: string): Promise<void> {
  await execute(db, 'insert into saved_commands (id, revision) values (:id, 1)', { id });
}

/** Point the saved command at a revision that was inserted. */
export async function setRevision(db: Queryable, id: string, revision: number): Promise<void> {
  await execute(db, 'update saved_commands set revision = :revision, updated_at = now() where id = :id', {
    id,
    revision,
  });
}

export async function insertRevision(
  db: Queryable,
  id: string,
  revision: number,
  content: SavedContent,
  editor: Editor,
): Promise<void> {
  await execute(
    db,
    `insert into saved_command_revisions (saved_command_id, revision, name, description, category, tags, scripts,
       parameters, version, author, auto_approve, editor_kind, editor_id, editor_name)
     values (:id, :revision, :name, :description, :category, :tags, cast(:scripts as jsonb),
       cast(:parameters as jsonb), :version, :author, :autoApprove, :kind, :editorId, :editorName)`,
    {
      id,
      revision,
      name: content.name,
      description: content.description,
      category: content.category,
      tags: content.tags,
      scripts: JSON.stringify(content.scripts),
      parameters: JSON.stringify(content.parameters),
      version: content.version,
      author: content.author,
      autoApprove: content.autoApprove,
      kind: editor.kind,
      editorId: editor.id,
      editorName: editor.name,
    },
  );
}

export async function markSavedDeleted(db: Queryable, id: string): Promise<void> {
  await execute(db, 'update saved_commands set deleted_at = now(), updated_at = now() where id = :id', {
    id,
  });
}

/** Newest first, keyset by revision. */
export function listRevisions(db: Queryable, id: string, page: RevisionPage): Promise<RevisionRow[]> {
  const { sql, bindings } = listRevisionsSql(id, page);
  return query<RevisionRow>(db, sql, bindings);
}

export interface RevisionPage {
  before: number | undefined;
  limit: number;
}

export const listRevisionsSql = (id: string, page: RevisionPage) => ({
  sql: `select ${revisionColumns} from saved_command_revisions r
        where r.saved_command_id = :id and r.revision < :before order by r.revision desc limit :limit`,
  bindings: { id, before: page.before ?? MAX_INTEGER, limit: page.limit },
});

export const findRevision = (db: Queryable, id: string, revision: number): Promise<RevisionRow | undefined> =>
  queryOne<RevisionRow>(
    db,
    `select ${revisionColumns} from saved_command_revisions r
     where r.saved_command_id = :id and r.revision = :revision`,
    { id, revision },
  );

const MAX_INTEGER = 2_147_483_647;

export interface SavedRunRow {
  id: string;
  savedCommandId: string;
  revision: number;
  batchIds: string[];
  refused: { agentId: string; code: string; message: string }[];
}

export async function insertSavedRun(db: Queryable, run: SavedRunRow): Promise<void> {
  await execute(
    db,
    `insert into saved_command_runs (id, saved_command_id, revision, batch_ids, refused)
     values (:id, :savedCommandId, :revision, cast(:batchIds as uuid[]), cast(:refused as jsonb))`,
    { ...run, refused: JSON.stringify(run.refused) },
  );
}

export const findSavedRun = (db: Queryable, id: string): Promise<SavedRunRow | undefined> =>
  queryOne<SavedRunRow>(
    db,
    `select id, saved_command_id as "savedCommandId", revision, batch_ids as "batchIds", refused
     from saved_command_runs where id = :id`,
    { id },
  );
