/**
 * What each scope of an API token lets through, of the rights that its owner's role holds. A right that no scope of
 * the token names is refused to it, whatever the role: so no token manages tokens, tickets, sessions, second factors,
 * accounts or the shared agent token, and none can make itself more than it is.
 */
import type { Resource, Verb } from '../contracts/principal.ts';
import type { ApiTokenScope } from '../contracts/scopes.ts';

type ScopeRights = Partial<Record<Resource, readonly Verb[]>>;

/** Every token may ask whose it is. */
const always: ScopeRights = { session: ['read'] };

const see = ['list', 'read'] as const;

/** Whoever may change a thing may see it: the answer to a change is the thing. */
export const scopeRights: Record<ApiTokenScope, ScopeRights> = {
  read: {
    task: see,
    step: see,
    command: see,
    output: see,
    agent: see,
    event: see,
    schedule: see,
    conversation: see,
    saved_command: see,
    alert: see,
    alert_rule: see,
    rollout: see,
    installer: see,
    template: see,
    team: see,
    repository: ['read'],
    system: ['read'],
  },
  tasks: {
    task: [...see, 'create', 'update', 'propose', 'assign', 'cancel', 'archive', 'report'],
    step: see,
    event: [...see, 'create'],
    schedule: [...see, 'create', 'update', 'delete', 'execute'],
    conversation: [...see, 'create', 'update', 'delete'],
    template: [...see, 'create', 'update', 'delete'],
    team: [...see, 'create', 'update', 'delete'],
  },
  decide: { task: [...see, 'decide'], step: see, rollout: [...see, 'decide'] },
  commands: {
    task: [...see, 'execute'],
    command: [...see, 'propose', 'execute', 'cancel'],
    output: see,
    saved_command: [...see, 'create', 'update', 'delete', 'execute'],
    rollout: [...see, 'create', 'update', 'cancel'],
  },
  agents: {
    agent: [...see, 'update', 'enrol', 'revoke', 'register', 'heartbeat'],
    alert: [...see, 'update'],
    alert_rule: [...see, 'create', 'update', 'delete'],
    installer: [...see, 'create'],
  },
  admin: {
    task: [...see, 'delete'],
    audit: see,
    user: see,
    setting: [...see, 'update', 'delete'],
    webhook: [...see, 'create', 'update', 'delete'],
    ban: [...see, 'delete'],
    // Not `manage`: it hands out the shared agent token.
    system: ['read'],
  },
};

/** Do these scopes let the right through? */
export const scopesAllow = (scopes: readonly ApiTokenScope[], verb: Verb, resource: Resource): boolean =>
  holds(always, verb, resource) || scopes.some((scope) => holds(scopeRights[scope], verb, resource));

const holds = (rights: ScopeRights, verb: Verb, resource: Resource): boolean =>
  rights[resource]?.includes(verb) ?? false;
