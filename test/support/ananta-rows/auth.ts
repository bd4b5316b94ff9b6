/** Sessions, the second factor, accounts. */
import { expect } from 'vitest';
import { type AnantaDesk, PASSWORD } from '../ananta-desk.ts';
import { totpToken } from '../second-factor.ts';
import { type AnantaRow, about, adminOnly, ofUsers, text, underAuth } from './row.ts';

export const authRows = ({
  next,
  login,
  newUser,
  newSecret,
  newMfaUser,
}: AnantaDesk): readonly AnantaRow[] => [
  {
    method: 'POST',
    paths: underAuth('/login'),
    body: { username: 'the-user', password: PASSWORD },
    isPublic: true,
    keys: 'access_token refresh_token username role mfa_required',
    like: {
      access_token: text,
      refresh_token: text,
      username: 'the-user',
      role: 'user',
      mfa_required: false,
    },
  },
  {
    method: 'POST',
    paths: underAuth('/login'),
    // The second factor is still to come: no error, and no token.
    given: async () => ({ body: { username: (await newMfaUser()).username, password: PASSWORD } }),
    isPublic: true,
    keys: 'mfa_required username',
    like: { mfa_required: true, username: text },
  },
  {
    method: 'POST',
    paths: underAuth('/login'),
    given: async () => {
      const { username, backupCode } = await newMfaUser();
      return { body: { username, password: PASSWORD, mfa_token: backupCode } };
    },
    isPublic: true,
    keys: 'access_token refresh_token username role mfa_required',
    like: { access_token: text, mfa_required: true },
  },
  {
    method: 'POST',
    paths: underAuth('/refresh-token'),
    given: async () => ({ body: { refresh_token: (await login('the-user')).body.data.refresh_token } }),
    isPublic: true,
    keys: 'access_token refresh_token username role',
    like: { access_token: text, refresh_token: text, username: 'the-user', role: 'user' },
  },
  {
    method: 'GET',
    paths: [...underAuth('/me'), '/api/profile'],
    keys: 'username role mfa_enabled',
    like: { username: 'admin', role: 'admin', mfa_enabled: false },
  },
  {
    method: 'POST',
    paths: underAuth('/change-password'),
    body: { old_password: PASSWORD, new_password: 'Another-Sail-43' },
    given: async () => ({ token: (await newUser()).token }),
    keys: 'status',
    like: { status: 'password_changed' },
  },
  {
    method: 'POST',
    paths: underAuth('/mfa/setup'),
    given: async () => ({ token: (await newUser()).token }),
    keys: 'secret qr_code',
    like: { secret: text, qr_code: expect.stringMatching(/^data:image/) },
  },
  {
    method: 'POST',
    paths: underAuth('/mfa/verify'),
    given: async () => {
      const { token, secret } = await newSecret();
      return { token, body: { token: totpToken(secret) } };
    },
    keys: 'status access_token backup_codes',
    like: { status: 'mfa_enabled', access_token: text, backup_codes: Array.from({ length: 10 }, () => text) },
  },
  {
    method: 'POST',
    paths: underAuth('/mfa/disable'),
    given: async () => ({ token: (await newMfaUser()).token, body: { password: PASSWORD } }),
    keys: 'status access_token',
    like: { status: 'mfa_disabled', access_token: text },
  },
  {
    method: 'GET',
    paths: ofUsers('/users'),
    ...adminOnly,
    keys: 'username role',
    more: 'mfa_enabled',
  },
  {
    method: 'POST',
    paths: ofUsers('/users'),
    given: async () => ({ body: { username: next(), password: PASSWORD, role: 'user' } }),
    ...adminOnly,
    keys: 'status username',
    like: { status: 'user_created', username: text },
  },
  {
    method: 'DELETE',
    paths: ofUsers('/users/{username}'),
    given: about(async () => (await newUser()).username),
    ...adminOnly,
    keys: 'status',
    like: { status: 'user_deleted' },
  },
  {
    method: 'POST',
    paths: ofUsers('/users/{username}/reset-password'),
    body: { new_password: 'Another-Sail-43' },
    given: about(async () => (await newUser()).username),
    ...adminOnly,
    keys: 'status',
    like: { status: 'password_reset' },
  },
  {
    method: 'PUT',
    paths: ofUsers('/users/{username}/role'),
    body: { role: 'operator' },
    given: about(async () => (await newUser()).username),
    ...adminOnly,
    keys: 'status username role',
    like: { status: 'role_updated', username: text, role: 'operator' },
  },
];
