import type { AliceError } from '../../contracts/families/alice.ts';
import { dexErrors } from './dex.ts';
import type { ErrorDialect } from './error-fact.ts';
import { pydanticIssues } from './pydantic-issues.ts';

/** `{"detail","code","timestamp","path"}`, codes in upper case. */
export const aliceErrors: ErrorDialect = {
  contentType: 'application/json',
  body(fact): AliceError {
    return {
      detail: fact.issues.length > 0 ? pydanticIssues(fact.issues) : fact.message,
      code: fact.familyCode ?? fact.code.toUpperCase(),
      timestamp: fact.timestamp,
      path: fact.path,
    };
  },
};

/** `/api/v1/auth/*` is shared with dex and answers the keys of both; where the words differ, those of alice. */
export const dexAliceErrors: ErrorDialect = {
  contentType: 'application/json',
  body: (fact) => ({ ...dexErrors.body(fact), ...aliceErrors.body(fact) }),
};
