/** Small shapes that several resources share. */
import { z } from 'zod';

/** Default and largest page of a keyset-paged list. */
export const DEFAULT_PAGE_SIZE = 50;
export const MAX_PAGE_SIZE = 200;

/** UTC time, ISO 8601 with zone, milliseconds. */
export const timeSchema = z.iso
  .datetime({ offset: true })
  .meta({ description: 'UTC time, ISO 8601 with zone' });

export const actorRefSchema = z
  .object({ kind: z.string(), id: z.string(), name: z.string() })
  .meta({ description: 'Who did it: kind (user, agent, system), id and name at that time' });

/** Query parameters of every keyset-paged list. `cursor` is opaque and comes from the previous page. */
export const pageQuery = {
  limit: z.coerce.number().int().min(1).max(MAX_PAGE_SIZE).default(DEFAULT_PAGE_SIZE),
  cursor: z.string().max(512).optional(),
};

export const pageOf = <T extends z.ZodType>(item: T) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() });

/** A page of rows and the cursor of the next one, null at the end. */
export interface Page<T> {
  items: T[];
  nextCursor: string | null;
}

/** Longest bearer token that is sent for somebody, characters. */
export const MAX_BEARER_TOKEN_LENGTH = 1_024;
/** Printable ASCII: anything else cannot stand in a header. */
export const bearerTokenSchema = z
  .string()
  .min(1)
  .max(MAX_BEARER_TOKEN_LENGTH)
  .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces');

/** Query parameters of every event stream, for clients that cannot set headers (browser EventSource and WebSocket). */
export const resumeQuery = {
  lastEventId: z
    .string()
    .max(64)
    .optional()
    .meta({ description: 'As the header Last-Event-ID, which goes before it' }),
  token: z.string().optional().meta({ description: 'As the header Authorization, which goes before it' }),
  api_token: z.string().optional().meta({ description: 'As `token`' }),
  ticket: z
    .string()
    .max(128)
    .optional()
    .meta({ description: 'A one-time ticket of `POST /v1/auth/tickets`' }),
};
