import type { DexError } from '../../contracts/families/dex.ts';
import type { ErrorDialect } from './error-fact.ts';
import { pydanticIssues } from './pydantic-issues.ts';

/** `{"success":false,"error","code","details","detail"}`: `detail` is the message, or the validation list. */
export const dexErrors: ErrorDialect = {
  contentType: 'application/json',
  body(fact): DexError {
    return {
      success: false,
      error: fact.message,
      code: fact.familyCode ?? fact.code.toUpperCase(),
      details: { ...fact.details },
      detail: fact.issues.length > 0 ? pydanticIssues(fact.issues) : fact.message,
    };
  },
};
