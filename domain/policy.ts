/**
 * Who may do what: one table, asked by every domain function. A right is a verb on a resource.
 * `own` means: only on things whose owner is the principal.
 */
import { problem, type SteelthreadError } from '../contracts/errors.ts';
import type { Principal, Resource, Role, Verb } from '../contracts/principal.ts';
import { scopesAllow } from './scopes.ts';

type Grant = 'all' | 'own';
type RoleGrants = Partial<Record<Role, Grant>>;

const readers: RoleGrants = { viewer: 'all', user: 'own', operator: 'all', admin: 'all', system: 'all' };
const operators: RoleGrants = { operator: 'all', admin: 'all' };
const admins: RoleGrants = { admin: 'all' };
/** Of things without an owner: whoever sees only their own sees none. */
const overseers: RoleGrants = { viewer: 'all', operator: 'all', admin: 'all', system: 'all' };
const known: RoleGrants = { viewer: 'all', user: 'all', operator: 'all', admin: 'all', system: 'all' };
/** Of accounts and sessions: everybody their own, an admin all. */
const people: RoleGrants = { viewer: 'own', user: 'own', operator: 'own', admin: 'all' };

/** Of what nobody does for another, an admin neither. */
const ownOnly: RoleGrants = { viewer: 'own', user: 'own', operator: 'own', admin: 'own' };

/** A pair that is not named here is refused to everybody. */
const policy: Partial<Record<Resource, Partial<Record<Verb, RoleGrants>>>> = {
  task: {
    list: readers,
    read: readers,
    create: { user: 'own', operator: 'all', admin: 'all', system: 'all' },
    update: { user: 'own', operator: 'all', admin: 'all' },
    propose: { user: 'own', operator: 'all', admin: 'all', system: 'all' },
    assign: { operator: 'all', admin: 'all', system: 'all' },
    decide: operators,
    execute: operators,
    cancel: { user: 'own', operator: 'all', admin: 'all' },
    archive: { user: 'own', operator: 'all', admin: 'all' },
    delete: admins,
    /** Say how a task that was handed to another installation is doing; so may the token it was handed over with. */
    report: { operator: 'all', admin: 'all', system: 'all' },
  },
  command: {
    list: readers,
    read: readers,
    /** Have the model write one. It costs money and runs nothing. */
    propose: { user: 'own', operator: 'all', admin: 'all', system: 'all' },
    execute: operators,
    cancel: operators,
  },
  output: { read: readers },
  saved_command: {
    list: overseers,
    read: overseers,
    create: operators,
    update: operators,
    delete: operators,
    execute: operators,
  },
  rollout: {
    list: overseers,
    read: overseers,
    create: operators,
    /** Pause and resume. */
    update: operators,
    /** Approve the next batch. */
    decide: operators,
    cancel: operators,
  },
  /** What a schedule runs takes its own right besides, asked of whoever writes it and again at each run. */
  schedule: {
    list: readers,
    read: readers,
    create: { user: 'own', operator: 'all', admin: 'all' },
    update: { user: 'own', operator: 'all', admin: 'all' },
    delete: { user: 'own', operator: 'all', admin: 'all' },
    /** Run it now, or for times that have passed. */
    execute: { user: 'own', operator: 'all', admin: 'all' },
  },
  agent: {
    list: overseers,
    read: overseers,
    update: operators,
    enrol: { operator: 'all', admin: 'all', system: 'all' },
    revoke: operators,
    register: { agent: 'own', operator: 'all', admin: 'all', system: 'all' },
    heartbeat: { agent: 'own', operator: 'all', admin: 'all', system: 'all' },
  },
  alert: { list: readers, read: readers, update: operators },
  alert_rule: {
    list: overseers,
    read: overseers,
    create: operators,
    update: operators,
    delete: operators,
  },
  event: {
    list: readers,
    read: readers,
    create: { user: 'own', operator: 'all', admin: 'all', system: 'all' },
  },
  audit: { list: admins, read: admins },
  session: { list: ownOnly, read: people, delete: people },
  profile: { update: ownOnly },
  password: { update: ownOnly },
  mfa: { read: ownOnly, update: ownOnly },
  ban: { list: admins, delete: admins },
  ticket: { create: ownOnly },
  api_token: { list: ownOnly, create: ownOnly, delete: ownOnly },
  conversation: { list: ownOnly, read: ownOnly, create: ownOnly, delete: ownOnly },
  user: { list: admins, read: people, create: admins, update: admins, delete: admins },
  installer: {
    read: overseers,
    create: { operator: 'all', admin: 'all', system: 'all' },
  },
  /** Whoever is known reads them. They hold words and names, no secrets. */
  team: { list: known, read: known, create: admins, update: admins, delete: admins },
  template: { list: known, read: known, create: admins, update: admins, delete: admins },
  /** Whoever has them is told of everything. */
  webhook: { list: admins, read: admins, create: admins, update: admins, delete: admins },
  /** Files of the folder on the server's machine that questions are answered with. */
  repository: { read: overseers },
  setting: { list: admins, read: admins, update: admins, delete: admins },
  /** A shell without a decision: admins, and accounts that were given the right (`mayOpenTerminals`), each their own. */
  terminal: { list: admins, read: admins, create: admins, delete: admins },
  system: { read: readers, manage: admins },
};

/** The widest grant of the principal's roles for this right, within the scopes of its token; or undefined. */
export function grantOf(principal: Principal, verb: Verb, resource: Resource): Grant | undefined {
  const grants = policy[resource]?.[verb];
  if (grants === undefined) return undefined;
  if (principal.callbackOf !== undefined) return verb === 'report' && resource === 'task' ? 'own' : undefined;
  if (principal.mustChangePassword === true && !isBeforePasswordChange(verb, resource)) return undefined;
  if (principal.scopes !== undefined && !scopesAllow(principal.scopes, verb, resource)) return undefined;
  let widest: Grant | undefined =
    principal.mayOpenTerminals === true && resource === 'terminal' ? 'own' : undefined;
  for (const role of principal.roles) {
    const grant = grants[role];
    if (grant === 'all') return 'all';
    widest = grant ?? widest;
  }
  return widest;
}

/**
 * May the principal do this at all, or (with an owner) to this thing?
 * @param ownerId id of the principal that owns the thing; absent when asked before anything is looked up.
 */
export function can(principal: Principal, verb: Verb, resource: Resource, ownerId?: string): boolean {
  const grant = grantOf(principal, verb, resource);
  return grant === 'all' || (grant === 'own' && (ownerId === undefined || ownerId === principal.id));
}

/** @throws forbidden; password_change_required where only that stands in the way of an account's session */
export function assertCan(principal: Principal, verb: Verb, resource: Resource, ownerId?: string): void {
  if (!can(principal, verb, resource, ownerId)) throw refusalFor(principal);
}

/** What a principal is told who may not do something. */
export const refusalFor = (principal: Principal): SteelthreadError =>
  problem(principal.mustChangePassword === true ? 'password_change_required' : 'forbidden');

/** All that an account may do while it waits for a new password: see who it is, change the password, log out. */
const isBeforePasswordChange = (verb: Verb, resource: Resource): boolean =>
  (resource === 'session' && (verb === 'read' || verb === 'delete')) ||
  (resource === 'password' && verb === 'update');

/** Owner id that a list must be narrowed to, or undefined when the principal may see all. */
export function visibleOwner(principal: Principal, resource: Resource): string | undefined {
  return grantOf(principal, 'list', resource) === 'all' ? undefined : principal.id;
}

/** Every right the table speaks of, for the role × right matrix in the docs and the tests. */
export function listRights(): { resource: Resource; verb: Verb; grants: RoleGrants }[] {
  return Object.entries(policy).flatMap(([resource, verbs]) =>
    Object.entries(verbs ?? {}).map(([verb, grants]) => ({
      resource: resource as Resource,
      verb: verb as Verb,
      grants: grants ?? {},
    })),
  );
}
