/** Standard Webhooks 1.0: what is signed is `<webhook-id>.<webhook-timestamp>.<body>`, by HMAC-SHA256, in base64. */
import { createHmac, randomBytes } from 'node:crypto';

/** Length of the secrets that are made here, bytes. */
const SECRET_BYTES = 32;
const SECRET_PREFIX = 'whsec_';

/** `whsec_` and random bytes in base64. */
export const createWebhookSecret = (): string =>
  `${SECRET_PREFIX}${randomBytes(SECRET_BYTES).toString('base64')}`;

/** The key of a secret that has the prefix. */
export const keyOfSecret = (secret: string): Buffer =>
  Buffer.from(secret.slice(SECRET_PREFIX.length), 'base64');

/** A callback is signed with the very bytes of its token: it is the one secret that both sides know. */
export const keyOfToken = (token: string): Buffer => Buffer.from(token, 'utf8');

export interface SignedMessage {
  id: string;
  /** Of this attempt. */
  at: Date;
  body: string;
}

/**
 * The three headers of the standard.
 * @param keys each makes a signature of its own, so that a receiver may change secrets; without any none is sent
 */
export function signatureHeaders(message: SignedMessage, keys: readonly Buffer[]): Record<string, string> {
  const timestamp = Math.floor(message.at.getTime() / 1000);
  const signed = `${message.id}.${timestamp}.${message.body}`;
  const signatures = keys.map((key) => `v1,${createHmac('sha256', key).update(signed).digest('base64')}`);
  return {
    'webhook-id': message.id,
    'webhook-timestamp': String(timestamp),
    ...(signatures.length > 0 && { 'webhook-signature': signatures.join(' ') }),
  };
}
