import type { AnantaError } from '../../contracts/families/ananta.ts';
import type { ErrorDialect, ErrorFact } from './error-fact.ts';
import { pydanticIssues } from './pydantic-issues.ts';

/** `{"status":"error","message","data"?}`: the message is a code, or a sentence where the family has its own. */
export const anantaErrors: ErrorDialect = {
  contentType: 'application/json',
  body(fact): AnantaError {
    if (fact.code === 'shutdown_in_progress') return { status: 'shutdown_in_progress' };
    const data = dataOf(fact);
    return {
      status: 'error',
      message: fact.hasOwnMessage ? fact.message : (fact.familyCode ?? fact.code),
      ...(Object.keys(data).length > 0 && { data }),
    };
  },
};

/** The correlation id goes with what one would report to the operator: bad bodies, unknown paths, our own faults. */
function dataOf(fact: ErrorFact): Record<string, unknown> {
  const cid = { cid: fact.requestId };
  switch (fact.code) {
    case 'unauthorized':
      return { details: 'Missing Authorization (header or token param)', ...fact.details };
    case 'invalid_token':
      return { details: fact.details?.reason === 'expired' ? 'Token expired' : 'Invalid token' };
    case 'forbidden':
      return { details: 'Admin privileges required', ...fact.details };
    case 'validation_failed':
      return { details: pydanticIssues(fact.issues), ...cid };
    case 'malformed_json':
    case 'unsupported_media_type':
    case 'body_too_large':
      return { details: fact.message, ...cid };
    default:
      return fact.isUnknownPath || fact.status >= 500 ? { ...fact.details, ...cid } : { ...fact.details };
  }
}
