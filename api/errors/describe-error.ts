import { fillTemplate, isProblem, problem, type SteelthreadError } from '../../contracts/errors.ts';
import { errorTextOf } from '../../contracts/families/error-texts.ts';
import type { Family } from '../../contracts/families/family.ts';
import type { ErrorText, RouteContract } from '../../contracts/route.ts';
import { toDatabaseProblem } from '../../domain/database-problem.ts';
import { errorDialects } from './dialects.ts';
import type { ErrorDialect } from './error-fact.ts';

/** Facts of the request that an error body may name. */
export interface ErrorPlace {
  family: Family;
  /** Null when no route has this path. */
  route: RouteContract | null;
  path: string;
  method: string;
  requestId: string;
  /** Value of the Accept header. */
  accept: string | undefined;
}

export interface DescribedError {
  status: number;
  headers: Record<string, string>;
  contentType: string;
  body: object;
}

/** Turns an error of the table into the answer of a dialect; the route's own words win over its family's. */
export function describeError(error: SteelthreadError, place: ErrorPlace): DescribedError {
  const dialect = asksForProblem(place.accept) ? errorDialects.house : errorDialects[place.family];
  const texts = wordsFor(error, place, dialect);
  const status = texts.status ?? error.status;
  const body = dialect.body({
    code: error.code,
    status,
    message: texts.message === undefined ? error.message : fillTemplate(texts.message, error.params),
    familyCode: texts.code,
    hasOwnMessage: texts.message !== undefined,
    retryable: error.retryable,
    details: error.details,
    issues: error.issues,
    isUnknownPath: place.route === null,
    path: place.path,
    method: place.method,
    requestId: place.requestId,
    timestamp: new Date().toISOString(),
  });
  return {
    status,
    // RFC 9110 section 11.6.1: every 401 names a challenge.
    headers: { ...(status === 401 && { 'WWW-Authenticate': 'Bearer' }), ...error.headers },
    contentType: dialect.contentType,
    body,
  };
}

/** The status stays that of the family even when the body is a problem: one route, one set of statuses. */
function wordsFor(error: SteelthreadError, place: ErrorPlace, dialect: ErrorDialect): ErrorText {
  const text = errorTextOf(error.code, place.family, place.route);
  return dialect === errorDialects.house && place.family !== 'house' ? { status: text.status } : text;
}

function asksForProblem(accept: string | undefined): boolean {
  return accept?.toLowerCase().includes('application/problem+json') ?? false;
}

/**
 * Any thrown value as an error of the table. Errors of HTTP libraries keep their meaning by status;
 * the rest is our fault and says nothing about itself.
 */
export function asProblem(thrown: unknown): SteelthreadError {
  if (isProblem(thrown)) return thrown;
  const away = toDatabaseProblem(thrown);
  if (away !== undefined) return away;
  const status = clientStatusOf(thrown);
  if (status === 404) return problem('not_found', {}, { cause: thrown });
  if (status === 413) return problem('body_too_large', { maxBytes: 'the allowed' }, { cause: thrown });
  if (status !== undefined) return problem('bad_request', {}, { cause: thrown });
  return problem('internal_error', {}, { cause: thrown });
}

/** The 4xx status of an error made by koa or a middleware (`http-errors` marks those as fit to expose). */
function clientStatusOf(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error) || !('status' in thrown) || !('expose' in thrown)) return undefined;
  const { status, expose } = thrown;
  return expose === true && typeof status === 'number' && status < 500 ? status : undefined;
}
