import compress from 'koa-compress';
import type { AppMiddleware } from '../context.ts';

/** Below, the compressor costs an answer more time than the bytes it saves. */
const MIN_COMPRESSED_BYTES = 16 * 1024;

/** Compresses larger answers; event streams never, they would wait in the compressor. */
export function compression(): AppMiddleware {
  return compress({
    threshold: MIN_COMPRESSED_BYTES,
    filter: (type) => /json|^text\/(?!event-stream)|javascript/.test(type),
    br: false,
  });
}
