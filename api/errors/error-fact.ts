import type { ErrorCode, ValidationIssue } from '../../contracts/errors.ts';

/** Everything a dialect may print about one refusal; the funnel fills it in, a dialect picks. */
export interface ErrorFact {
  code: ErrorCode;
  /** Status as answered, after the overrides of family and route. */
  status: number;
  message: string;
  /** Code as the family spells it, when a family or route has its own word for it. */
  familyCode: string | undefined;
  /** True when family or route gave this code its own text. */
  hasOwnMessage: boolean;
  retryable: boolean;
  details: Readonly<Record<string, unknown>> | undefined;
  issues: readonly ValidationIssue[];
  /** True when no route has this path. */
  isUnknownPath: boolean;
  /** Path without query: secrets may stand in a query. */
  path: string;
  method: string;
  requestId: string;
  /** ISO 8601 with zone. */
  timestamp: string;
}

/** One family's way to say no. */
export interface ErrorDialect {
  contentType: string;
  body(fact: ErrorFact): object;
}
