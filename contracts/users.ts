/** Accounts, as the house API speaks of them: their names, and what may be written of them. */
import { z } from 'zod';
import { pageQuery, timeSchema } from './shared.ts';

/** Roles that a person can have. */
export const userRoles = ['viewer', 'user', 'operator', 'admin'] as const;

/** Longest user name, characters: an e-mail address may be one. */
export const MAX_USERNAME_LENGTH = 255;
/** Longest e-mail address (RFC 5321), characters. */
export const MAX_EMAIL_LENGTH = 254;
export const MAX_DISPLAY_NAME_LENGTH = 255;
export const MAX_AVATAR_URL_LENGTH = 2_048;
/** Longest password that is looked at, characters; the policy allows less (72 bytes). */
export const MAX_PASSWORD_INPUT_LENGTH = 1_024;

/** Letters of scripts that look like Latin ones: together in one name they can only deceive. */
const mixesLookalikes = (text: string): boolean =>
  /\p{Script=Latin}/u.test(text) && /[\p{Script=Cyrillic}\p{Script=Greek}]/u.test(text);

/** A name as it is kept: one spelling (NFKC), nothing invisible, no white space. */
export const usernameSchema = z
  .string()
  .max(MAX_USERNAME_LENGTH)
  .transform((text) => text.normalize('NFKC'))
  .pipe(
    z
      .string()
      .max(MAX_USERNAME_LENGTH)
      .regex(/^[\p{L}\p{N}][\p{L}\p{N}\p{M}._@+-]*$/u, 'Letters, digits and . _ @ + - only')
      .refine((text) => !mixesLookalikes(text), 'Letters of scripts that look alike do not go together'),
  )
  .meta({ description: 'Unique whatever its case; letters, digits and . _ @ + -' });

export const emailSchema = z.email().max(MAX_EMAIL_LENGTH);

export const displayNameSchema = z
  .string()
  .trim()
  .min(1)
  .max(MAX_DISPLAY_NAME_LENGTH)
  .regex(/^[^\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069]*$/u, 'No control characters');

export const avatarUrlSchema = z
  .url({ protocol: /^https?$/ })
  .max(MAX_AVATAR_URL_LENGTH)
  .meta({ description: 'An http or https address; the server never fetches it' });

export const newPasswordSchema = z.string().min(1).max(MAX_PASSWORD_INPUT_LENGTH).meta({
  description:
    'At least 8 characters, at most 72 bytes; not a common password, not the name, not one of the last four',
});

/** Programs keep their tokens through a new password unless somebody says otherwise. */
const revokeTokensSchema = z
  .boolean()
  .default(false)
  .meta({ description: 'End all API tokens of the account as well' });

export const userListQuerySchema = z.strictObject({
  ...pageQuery,
  role: z.enum(userRoles).optional(),
  isActive: z.enum(['true', 'false']).optional(),
});

export const createUserBodySchema = z.strictObject({
  username: usernameSchema,
  email: emailSchema.nullish(),
  displayName: displayNameSchema.nullish(),
  password: newPasswordSchema,
  role: z.enum(userRoles).default('user'),
  mustChangePassword: z
    .boolean()
    .default(false)
    .meta({ description: 'Ask for a new password at the first login' }),
});

export const updateUserBodySchema = z.strictObject({
  email: emailSchema.nullable().optional(),
  displayName: displayNameSchema.nullable().optional(),
  avatarUrl: avatarUrlSchema.nullable().optional(),
  isActive: z.boolean().optional(),
});
export type UserChange = z.infer<typeof updateUserBodySchema>;

export const updateMeBodySchema = updateUserBodySchema.pick({ displayName: true, avatarUrl: true });

export const setRoleBodySchema = z.strictObject({ role: z.enum(userRoles) });

export const resetPasswordBodySchema = z.strictObject({
  newPassword: newPasswordSchema.optional().meta({ description: 'Without it one is generated' }),
  revokeTokens: revokeTokensSchema,
});
export const resetPasswordReplySchema = z.object({
  generatedPassword: z.string().nullable().meta({ description: 'Shown once; null when it was given' }),
});

export const changePasswordBodySchema = z.strictObject({
  oldPassword: z.string().min(1).max(MAX_PASSWORD_INPUT_LENGTH),
  newPassword: newPasswordSchema,
  revokeTokens: revokeTokensSchema,
});

export const registerBodySchema = z.strictObject({
  username: usernameSchema.optional().meta({ description: 'The e-mail address unless given' }),
  email: emailSchema.nullish(),
  displayName: displayNameSchema.nullish(),
  password: newPasswordSchema,
});

export const sessionSchema = z
  .object({
    id: z.uuid(),
    family: z.string().meta({ description: 'Dialect of the client that logged in' }),
    address: z.string().nullable(),
    userAgent: z.string().nullable(),
    isCurrent: z.boolean(),
    createdAt: timeSchema,
    refreshedAt: timeSchema,
    expiresAt: timeSchema,
  })
  .meta({ id: 'Session' });
export type SessionView = z.infer<typeof sessionSchema>;
