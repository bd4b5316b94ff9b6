/**
 * Which ETag an answer had at which version. While the version stands, a client that has the ETag is told so without
 * the answer being made again.
 *
 *  A. The version is read before what it is the version of. What is read then is that or newer; where it is newer, the
 *     version has grown and is never given again, so the ETag kept for it answers nobody.
 */
import { etagOf, isKnownEtag } from './etag.ts';

/** Answers that are remembered; the one that was asked for longest ago goes first. */
const MAX_KNOWN_ETAGS = 5_000;

export interface ConditionalRead<Body> {
  /** What is read, in its scope: who sees the same under the same name may share it. */
  name: string;
  /** `If-None-Match` */
  ifNoneMatch: string | undefined;
  version: () => Promise<{ scope: string; version: number }>;
  read: () => Promise<Body>;
  /** What of the body the ETag is over; default all of it. */
  hashed?: (body: Body) => unknown;
}

export type ConditionalReply<Body> =
  | { status: 200; headers: { ETag: string }; body: Body }
  | { status: 304; headers: { ETag: string } };

export interface KnownEtags {
  read<Body>(request: ConditionalRead<Body>): Promise<ConditionalReply<Body>>;
}

export function createKnownEtags({ maxEtags = MAX_KNOWN_ETAGS } = {}): KnownEtags {
  const known = new Map<string, { version: number; etag: string }>();
  return {
    async read({ name, ifNoneMatch, version: readVersion, read, hashed = (body) => body }) {
      const { scope, version } = await readVersion();
      const key = `${scope} ${name}`;
      const entry = known.get(key);
      if (entry?.version === version && isKnownEtag(ifNoneMatch, entry.etag)) {
        known.delete(key);
        known.set(key, entry);
        return { status: 304, headers: { ETag: entry.etag } };
      }
      const body = await read();
      const etag = etagOf(hashed(body));
      // A reader that took longer does not take the place of one that began later.
      if (version >= (known.get(key)?.version ?? 0)) {
        known.delete(key);
        known.set(key, { version, etag });
        const [oldest] = known.keys();
        if (known.size > maxEtags && oldest !== undefined) known.delete(oldest);
      }
      const headers = { ETag: etag };
      return isKnownEtag(ifNoneMatch, etag) ? { status: 304, headers } : { status: 200, headers, body };
    },
  };
}
