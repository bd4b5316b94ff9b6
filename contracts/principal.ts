/** Who asks, and the words in which rights are spoken of. */

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
  'setting',
  'schedule',
  'conversation',
  'saved_command',
  'installer',
  'template',
  'team',
  'terminal',
  'system',
] as const;
export type Resource = (typeof resources)[number];
