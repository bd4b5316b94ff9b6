/** Opaque keyset cursors: the position (time, id) of the last row of a page, as base64url of JSON. */
import { validate as isUuid } from 'uuid';
import { z } from 'zod';
import { problem } from '../contracts/errors.ts';
import type { Page } from '../contracts/shared.ts';

/** Position of a row in a list ordered by (time, id). Times have milliseconds, as `timestamptz(3)` has. */
export interface CursorPosition {
  at: Date;
  id: string;
}

const positionSchema = z.tuple([z.int().min(0).max(8.64e15), z.string().min(1).max(255)]);

export function encodeCursor(at: Date, id: string): string {
  return Buffer.from(JSON.stringify([at.getTime(), id])).toString('base64url');
}

/** @throws invalid_cursor for anything that `encodeCursor` has not made. */
export function decodeCursor(cursor: string): CursorPosition {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch (cause) {
    throw problem('invalid_cursor', {}, { cause });
  }
  const parsed = positionSchema.safeParse(value);
  // A NUL is valid JSON text but no Postgres text.
  if (!parsed.success || parsed.data[1].includes('\u0000')) throw problem('invalid_cursor');
  return { at: new Date(parsed.data[0]), id: parsed.data[1] };
}

/** Where a list goes on; undefined for its first page. @throws invalid_cursor */
export const positionOf = (cursor: string | undefined): CursorPosition | undefined =>
  cursor === undefined ? undefined : decodeCursor(cursor);

/** As positionOf, for lists whose ids are uuids: another list's cursor is none of this one. @throws invalid_cursor */
export function uuidPositionOf(cursor: string | undefined): CursorPosition | undefined {
  const position = positionOf(cursor);
  if (position !== undefined && !isUuid(position.id)) throw problem('invalid_cursor');
  return position;
}

/** A page from up to `limit + 1` rows: the extra row only says that there is a next page. */
export function pageOfRows<Row>(
  rows: readonly Row[],
  limit: number,
  position: (row: Row) => CursorPosition,
): Page<Row> {
  const items = rows.slice(0, limit);
  const last = rows.length > limit ? items.at(-1) : undefined;
  if (last === undefined) return { items, nextCursor: null };
  const { at, id } = position(last);
  return { items, nextCursor: encodeCursor(at, id) };
}
