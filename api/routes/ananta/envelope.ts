import { problem } from '../../../contracts/errors.ts';

/** Success envelope of the family. */
export const success = <Data>(data: Data) => ({ status: 'success' as const, data });

/**
 * A field that may be missing by its schema, so that the refusal says what clients of the family know.
 * @throws invalid_request with the reason
 */
export function given(text: string | null | undefined, reason: string): string {
  if (text === undefined || text === null || text === '') throw problem('invalid_request', { reason });
  return text;
}
