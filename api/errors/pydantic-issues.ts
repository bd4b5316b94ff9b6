import type { ValidationIssue } from '../../contracts/errors.ts';
import type { PydanticIssue } from '../../contracts/families/pydantic-issue.ts';

/** The validation list as FastAPI prints it: `{loc: ['body', 'title'], msg, type}`. */
export function pydanticIssues(issues: readonly ValidationIssue[]): PydanticIssue[] {
  return issues.map((issue) => ({ loc: [issue.in, ...issue.path], msg: issue.message, type: issue.type }));
}
