import { randomBytes } from 'node:crypto';

/** Random bytes of a password that the system makes. */
const GENERATED_PASSWORD_BYTES = 18;

/** 24 characters that need no quoting. To be shown once and kept nowhere. */
export const createPassword = (): string => randomBytes(GENERATED_PASSWORD_BYTES).toString('base64url');
