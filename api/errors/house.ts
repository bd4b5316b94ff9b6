import { titleOf } from '../../contracts/errors.ts';
import type { Problem } from '../../contracts/families/house.ts';
import type { ErrorDialect, ErrorFact } from './error-fact.ts';

/** RFC 9457 problem details. */
export const houseErrors: ErrorDialect = {
  contentType: 'application/problem+json',
  body(fact): Problem {
    return {
      type: `urn:steelthread:error:${fact.code}`,
      title: titleOf(fact.code),
      status: fact.status,
      detail: fact.message,
      instance: fact.path,
      code: fact.code,
      retryable: fact.retryable,
      requestId: fact.requestId,
      ...(fact.issues.length > 0 && { errors: fact.issues.map(pointTo) }),
      ...(fact.details && { details: { ...fact.details } }),
    };
  },
};

function pointTo(issue: ErrorFact['issues'][number]) {
  return { pointer: jsonPointer(issue.path), in: issue.in, message: issue.message };
}

/** RFC 6901; the empty pointer is the whole value. */
function jsonPointer(path: readonly (string | number)[]): string {
  return path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}
