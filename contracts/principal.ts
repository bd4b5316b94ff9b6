/** Who asks, and the words in which rights are spoken of. */
import type { ApiTokenScope } from './scopes.ts';

export const roles = ['viewer', 'user', 'operator', 'admin', 'system', 'agent'] as const;
export type Role = (typeof roles)[number];

/** Who asks. Built by authentication only; every domain function takes one. */
export interface Principal {
  kind: 'user' | 'agent' | 'system';
  /** User id, agent id, or the name of the system token. */
  id: string;
  /** Name for people, logs and the audit trail. */
  name: string;
  roles: readonly Role[];
  /** Session the request belongs to; null for tokens that have none. */
  sessionId: string | null;
  /** The account waits for a new password: until then it may only look at itself, change it, and log out. */
  mustChangePassword?: boolean;
  /** The account was given the right to terminals besides its role. */
  mayOpenTerminals?: boolean;
  /**
   * Which credential it is where that is no session: id of a personal API token, fingerprint of the shared agent
   * token. Open sockets and streams are ended with it.
   */
  credentialId?: string;
  /** When the credential ends by itself, where nothing stored says so (a JWT of the shared agent token). */
  expiresAt?: Date;
  /** Of a callback token: row id of the one task that it may report on, and nothing else. */
  callbackOf?: string;
  /** Of an API token: only these of the role's rights (`domain/scopes.ts`). Absent: all of them. */
  scopes?: readonly ApiTokenScope[];
}

/** What can be done. A right is a pair of a verb and a resource; a new one is one word here and a row in the policy. */
export const verbs = [
  'list',
  'read',
  'create',
  'update',
  'delete',
  'archive',
  'assign',
  'propose',
  'decide',
  'execute',
  'cancel',
  'enrol',
  'revoke',
  'register',
  'heartbeat',
  'report',
  'manage',
] as const;
export type Verb = (typeof verbs)[number];

export const resources = [
  'task',
  'step',
  'command',
  'output',
  'agent',
  'event',
  'audit',
  'user',
  'session',
  'profile',
  'password',
  'mfa',
  'ban',
  'ticket',
  'api_token',
  'setting',
  'schedule',
  'conversation',
  'saved_command',
  'alert',
  'alert_rule',
  'rollout',
  'installer',
  'template',
  'team',
  'terminal',
  'webhook',
  'repository',
  'system',
] as const;
export type Resource = (typeof resources)[number];
