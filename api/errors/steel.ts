import type { SteelError } from '../../contracts/families/steel.ts';
import type { ErrorDialect, ErrorFact } from './error-fact.ts';
import { pydanticIssues } from './pydantic-issues.ts';

/** `{"error":{…},"detail"}`: the documented envelope and the `detail` that older clients read. */
export const steelErrors: ErrorDialect = {
  contentType: 'application/json',
  body(fact): SteelError {
    return {
      error: {
        type: typeOf(fact),
        code: fact.status,
        message: fact.message,
        path: fact.path,
        method: fact.method,
      },
      detail: fact.issues.length > 0 ? pydanticIssues(fact.issues) : fact.message,
    };
  },
};

function typeOf(fact: ErrorFact): SteelError['error']['type'] {
  if (fact.code === 'validation_failed') return 'validation_error';
  return fact.code === 'internal_error' ? 'internal_server_error' : 'http_exception';
}
