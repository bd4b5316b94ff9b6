import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

const ANSWER_TIMEOUT_MS = 8_000;
const TIMEOUT_MS = 5 * 60_000;
const PROGRESS_INTERVAL_MS = 10_000;

/**
 * Writes what `url` answers into a file; `onProgress` hears from time to time how many bytes there are.
 * @throws when it does not answer, or not with 2xx, in time; the reason of `signal`
 */
export async function download(
  url: string,
  file: string,
  signal: AbortSignal | undefined,
  onProgress: (bytes: number) => void,
): Promise<void> {
  const abort = new AbortController();
  const either = AbortSignal.any([abort.signal, ...(signal === undefined ? [] : [signal])]);
  const noAnswer = setTimeout(() => abort.abort(new Error('no answer in time')), ANSWER_TIMEOUT_MS);
  const tooLong = setTimeout(() => abort.abort(new Error('took too long')), TIMEOUT_MS);
  let bytes = 0;
  const progress = setInterval(() => onProgress(bytes), PROGRESS_INTERVAL_MS);
  try {
    const response = await fetch(url, { signal: either });
    clearTimeout(noAnswer);
    if (!response.ok || response.body === null) throw new Error(`HTTP ${response.status}`);
    const count = async function* (chunks: AsyncIterable<Uint8Array>) {
      for await (const chunk of chunks) {
        bytes += chunk.length;
        yield chunk;
      }
    };
    await pipeline(Readable.from(count(response.body)), createWriteStream(file), { signal: either });
  } catch (error) {
    throw either.aborted ? either.reason : error;
  } finally {
    clearTimeout(noAnswer);
    clearTimeout(tooLong);
    clearInterval(progress);
  }
}
