import type { IncomingMessage } from 'node:http';
import { problem } from '../../contracts/errors.ts';
import { type BodyType, bodyMediaTypes } from '../../contracts/route.ts';
import type { AppContext } from '../context.ts';
import { isForbiddenKey, parseStrictJson } from './strict-json.ts';

/** Largest body of a request. */
export const MAX_BODY_BYTES = 1024 * 1024;

/**
 * A body that is too large is still read up to here and thrown away: a client that is cut off while it sends
 * sees a broken connection instead of the 413.
 */
const MAX_DISCARDED_BYTES = 8 * MAX_BODY_BYTES;

/** Fields of a form; no form of ours has more than a handful. */
const MAX_FORM_FIELDS = 100;

/**
 * The bytes of the body; undefined when the request has none. Nothing is made of them yet.
 *
 * Throws `unsupported_media_type` (an encoding), `body_too_large`, `bad_request` (it ends too soon).
 */
export async function readBody(ctx: AppContext): Promise<Buffer | undefined> {
  if (!mayHaveBody(ctx)) return undefined;
  assertPlainEncoding(ctx);
  return collect(ctx);
}

/**
 * What the bytes say; undefined when they are none.
 *
 * Throws `unsupported_media_type`, `malformed_json`, `bad_request` (a form).
 */
export function parseBody(
  ctx: AppContext,
  bytes: Buffer | undefined,
  accepted: readonly BodyType[] = ['json'],
): unknown {
  const text = bytes === undefined ? '' : decodeUtf8(bytes);
  if (text === '') return undefined;
  switch (bodyTypeOf(ctx, accepted)) {
    case 'json':
    case 'report':
      return parseStrictJson(text);
    case 'form':
      return parseForm(text);
  }
}

/** A request without either header has no body (RFC 9112 section 6.3). */
function mayHaveBody(ctx: AppContext): boolean {
  const length = ctx.req.headers['content-length'];
  return ctx.req.headers['transfer-encoding'] !== undefined || (length !== undefined && Number(length) > 0);
}

function assertPlainEncoding(ctx: AppContext): void {
  const encoding = ctx.get('Content-Encoding').toLowerCase();
  if (encoding === '' || encoding === 'identity') return;
  throw problem('unsupported_media_type', { accepted: 'plain bytes, without Content-Encoding' });
}

function bodyTypeOf(ctx: AppContext, accepted: readonly BodyType[]): BodyType {
  const [mediaType = '', ...parameters] = ctx
    .get('Content-Type')
    .split(';')
    .map((part) => part.trim().toLowerCase());
  const found = accepted.find((type) => matches(mediaType, type));
  if (found !== undefined && parameters.every(isUtf8)) return found;
  const names = accepted.map((type) => bodyMediaTypes[type]).join(' or ');
  throw problem('unsupported_media_type', { accepted: found === undefined ? names : `${names}, in UTF-8` });
}

/** Another encoding is not read as what it says it is: two readers would see two texts. */
const isUtf8 = (parameter: string): boolean =>
  !/^charset\s*=/.test(parameter) || /^charset\s*=\s*"?utf-?8"?$/.test(parameter);

function matches(mediaType: string, type: BodyType): boolean {
  return (
    mediaType === bodyMediaTypes[type] || (type === 'json' && /^application\/[\w.-]+\+json$/.test(mediaType))
  );
}

/** All bytes of the body, no longer kept as soon as they are too many. */
async function collect(ctx: AppContext): Promise<Buffer> {
  if (Number(ctx.req.headers['content-length'] ?? 0) > MAX_DISCARDED_BYTES) throw tooLarge(ctx);
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of bytesOf(ctx.req)) {
    size += chunk.length;
    if (size > MAX_DISCARDED_BYTES) throw tooLarge(ctx);
    if (size <= MAX_BODY_BYTES) chunks.push(chunk);
  }
  if (size > MAX_BODY_BYTES) throw problem('body_too_large', { maxBytes: MAX_BODY_BYTES });
  return Buffer.concat(chunks);
}

/** Leaving the loop keeps the socket open for the answer; a client that goes away mid-body is its own doing. */
async function* bytesOf(request: IncomingMessage): AsyncGenerator<Buffer> {
  try {
    yield* request.iterator({ destroyOnReturn: false });
  } catch (cause) {
    throw problem('bad_request', {}, { cause });
  }
}

/** The rest of the body is not read, so the connection cannot be used again. */
function tooLarge(ctx: AppContext) {
  ctx.set('Connection', 'close');
  return problem('body_too_large', { maxBytes: MAX_BODY_BYTES });
}

function decodeUtf8(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw problem('malformed_json', { reason: 'the bytes are not UTF-8' }, { cause });
  }
}

/** Form fields as an object of texts. A field that is there twice is refused: one reader takes the first, one the last. */
function parseForm(text: string): Record<string, string> {
  const fields = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(text)) {
    const isTooMany = fields.size >= MAX_FORM_FIELDS;
    if (isTooMany || fields.has(name) || isForbiddenKey(name) || `${name}${value}`.includes('\0')) {
      throw problem('bad_request');
    }
    fields.set(name, value);
  }
  return Object.fromEntries(fields);
}
