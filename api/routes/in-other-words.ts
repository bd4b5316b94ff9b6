import { isProblem, problem, type ValidationIssue } from '../../contracts/errors.ts';

type Path = ValidationIssue['path'];

/**
 * Complaints of `run` about its input point to where a family's bodies have it.
 * @param words a field of ours → the family's word for it
 * @param trim the path without what the family's bodies do not have
 */
export async function inOtherWords<T>(
  words: Readonly<Record<string, string>>,
  trim: (path: Path) => Path,
  run: () => Promise<T>,
): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!isProblem(error, 'validation_failed')) throw error;
    const issues = error.issues.map((issue) => ({
      ...issue,
      path: trim(issue.path).map((part) => words[part] ?? part),
    }));
    throw problem('validation_failed', {}, { issues, cause: error });
  }
}
