/** A row of the ananta contract: the request, and exactly what comes back. */
import { expect } from 'vitest';
import type { Method } from '../ananta-desk.ts';

/** What a request is made of. */
export interface Given {
  /** Default: an administrator's. */
  token?: string;
  /** What stands in braces, in turn. */
  ids?: readonly string[];
  body?: unknown;
}

export interface AnantaRow {
  method: Method;
  /** Each of them answers the same. */
  paths: readonly string[];
  body?: unknown;
  /** Made anew for each request. */
  given?: () => Promise<Given>;
  status?: number;
  /** First member of the envelope where it is not `success`. */
  word?: string;
  /** Members of the envelope beside `status` and `data`. */
  beside?: readonly string[];
  /** Keys of `data`, or of each of its items: exactly these, */
  keys: string;
  /** these that the contract does not name, */
  more?: string;
  /** and perhaps these; `*`: any. */
  maybe?: string;
  /** `data` as it must be. */
  like?: unknown;
  isPublic?: boolean;
  /** The most powerful role that is refused. */
  closedTo?: 'viewer' | 'user' | 'operator';
}

export const text = expect.any(String);
export const number = expect.any(Number);

/** A request about something that is made for it. */
export const about = (create: () => Promise<string | readonly string[]>) => async (): Promise<Given> => ({
  ids: [await create()].flat(),
});

/** The paths of a route. */
export const twice = (path: string, below: string) => [path, `${below}${path}`];
export const underAuth = (path: string) => twice(path, '/api/auth');
export const underSystem = (path: string) => twice(path, '/api/system');
export const underApi = (path: string) => twice(path, '/api');
export const ofUsers = (path: string) => [path, `/api/auth${path}`, `/api/admin${path}`];

export const adminOnly = { closedTo: 'operator' } as const;
