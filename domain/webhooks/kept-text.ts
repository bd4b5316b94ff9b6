import { MAX_KEPT_RESPONSE_BYTES } from '../../contracts/webhooks.ts';

/** The start of an answer as text that Postgres can hold: bad bytes as U+FFFD, no NUL. */
export const keptText = (bytes: Buffer): string =>
  bytes.subarray(0, MAX_KEPT_RESPONSE_BYTES).toString('utf8').replaceAll('\u0000', '\ufffd');
