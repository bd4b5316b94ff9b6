/** Access tokens: JWTs that name a user and a session. They prove who asks; the session row says whether it still may. */
import { createHash, createSecretKey, type KeyObject } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { v7 as newId } from 'uuid';
import { z } from 'zod';
import type { Role } from '../../contracts/principal.ts';
import { deriveKey } from './key-classes.ts';

export const TOKEN_ISSUER = 'steelthread';
export const TOKEN_AUDIENCE = 'steelthread-api';
/** Access tokens whose signature is not checked again while they last; the oldest is forgotten for one more. */
export const MAX_REMEMBERED_TOKENS = 2_000;
/** Longest a JWT signed with the shared agent token may still live, seconds. */
export const MAX_AGENT_JWT_TTL_S = 3600;
/** How far clocks of programs that sign with the agent token may be off, seconds. */
export const AGENT_JWT_LEEWAY_S = 30;

export interface AccessTokenFacts {
  userId: string;
  sessionId: string;
  username: string;
  email: string | null;
  role: Role;
  /** What `sub` says: families differ (the name, or the user id). The server never reads it. */
  subject: string;
  /** Seconds. */
  ttlS: number;
}

/** Signed with the key derived from the first of SECRET_KEY. `typ` and `type` say the same: clients of two families read one each. */
export function signAccessToken(keys: readonly string[], facts: AccessTokenFacts): string {
  const claims = {
    sub: facts.subject,
    uid: facts.userId,
    sid: facts.sessionId,
    username: facts.username,
    email: facts.email,
    role: facts.role,
    typ: 'access',
    type: 'access',
    jti: newId(),
  };
  const [key] = keys;
  if (key === undefined) throw new Error('no key to sign access tokens with');
  return jwt.sign(claims, deriveKey(key, 'access_token'), {
    algorithm: 'HS256',
    issuer: TOKEN_ISSUER,
    audience: TOKEN_AUDIENCE,
    expiresIn: facts.ttlS,
  });
}

const accessClaimsSchema = z.object({
  uid: z.uuid(),
  sid: z.uuid(),
  typ: z.literal('access'),
  exp: z.int(),
});

export type AccessTokenReading =
  | { kind: 'valid'; userId: string; sessionId: string }
  | { kind: 'expired' }
  /** Signed by one of the keys, but for somebody else, or of another type. */
  | { kind: 'invalid' }
  /** Not signed by any of the keys. */
  | { kind: 'foreign' };

/** What a good signature said, until the token expires. Whether the session still lives is asked every time. */
interface Remembered {
  reading: Extract<AccessTokenReading, { kind: 'valid' }>;
  /** Unix time, seconds. */
  exp: number;
}

/** By the keys it was checked with, then by the SHA-256 of the token: tokens themselves are not kept. */
const remembered = new WeakMap<readonly string[], Map<string, Remembered>>();

/**
 * Reads a token of `signAccessToken`: HS256 only, our issuer and audience, `exp` and `typ: access` required. A token
 * that was found good is not verified again before its `exp`: that cost more than the rest of a small request's reading.
 */
export function readAccessToken(keys: readonly string[], token: string): AccessTokenReading {
  const known = remembered.get(keys) ?? new Map<string, Remembered>();
  remembered.set(keys, known);
  const id = createHash('sha256').update(token).digest('base64');
  const found = known.get(id);
  if (found !== undefined && Date.now() < found.exp * 1000) return found.reading;
  known.delete(id);
  const { reading, exp } = verifyAccessToken(keys, token);
  if (reading.kind === 'valid') {
    known.set(id, { reading, exp });
    for (const oldest of known.keys()) {
      if (known.size <= MAX_REMEMBERED_TOKENS) break;
      known.delete(oldest);
    }
  }
  return reading;
}

/** `exp` is 0 for what is not valid. */
function verifyAccessToken(
  keys: readonly string[],
  token: string,
): { reading: AccessTokenReading; exp: number } {
  const no = (kind: 'expired' | 'invalid' | 'foreign') => ({ reading: { kind }, exp: 0 });
  for (const key of keys) {
    try {
      const payload = jwt.verify(token, deriveKey(key, 'access_token'), {
        algorithms: ['HS256'],
        issuer: TOKEN_ISSUER,
        audience: TOKEN_AUDIENCE,
      });
      const claims = accessClaimsSchema.safeParse(payload);
      if (!claims.success) return no('invalid');
      const { uid: userId, sid: sessionId, exp } = claims.data;
      return { reading: { kind: 'valid', userId, sessionId }, exp };
    } catch (error) {
      if (error instanceof jwt.TokenExpiredError) return no('expired');
      if (!isForeignSignature(error)) return no('invalid');
    }
  }
  return no('foreign');
}

let agentKey: { token: string; key: KeyObject } | undefined;

/** As an object: given a string, the library tries it as a public key first, at every call. */
function keyObjectOf(agentToken: string): KeyObject {
  if (agentKey?.token !== agentToken) {
    agentKey = { token: agentToken, key: createSecretKey(Buffer.from(agentToken, 'utf8')) };
  }
  return agentKey.key;
}

/**
 * When a JWT that the holder of the shared agent token signed, with an `exp` at most an hour ahead, is good no more;
 * null when it is none.
 */
export function readAgentTokenJwt(agentToken: string, token: string, now = new Date()): Date | null {
  try {
    const payload = jwt.verify(token, keyObjectOf(agentToken), {
      algorithms: ['HS256'],
      clockTolerance: AGENT_JWT_LEEWAY_S,
      clockTimestamp: Math.floor(now.getTime() / 1000),
    });
    const claims = z.object({ exp: z.int() }).safeParse(payload);
    if (!claims.success) return null;
    const { exp } = claims.data;
    if (exp > now.getTime() / 1000 + MAX_AGENT_JWT_TTL_S + AGENT_JWT_LEEWAY_S) return null;
    return new Date((exp + AGENT_JWT_LEEWAY_S) * 1000);
  } catch {
    return null;
  }
}

/** jsonwebtoken has one error class for all that is wrong; its documented messages are the only tell. */
const isForeignSignature = (error: unknown): boolean =>
  error instanceof jwt.JsonWebTokenError && error.message === 'invalid signature';

/** Three base64url parts: worth verifying as a JWT. */
export const looksLikeJwt = (text: string): boolean =>
  text.length <= 8192 && /^[\w-]+\.[\w-]+\.[\w-]+$/.test(text);
