import { describe, expect, it } from 'vitest';
import { isProblem } from '../../contracts/errors.ts';
import { type Principal, type Role, resources, roles, verbs } from '../../contracts/principal.ts';
import { assertCan, can, listRights, visibleOwner } from '../../domain/policy.ts';

const holder = (...held: Role[]): Principal => ({
  kind: 'user',
  id: 'me',
  name: 'me',
  roles: held,
  sessionId: null,
});

describe('the policy', () => {
  it('refuses every pair it does not name, to every role', () => {
    const named = new Set(listRights().map(({ resource, verb }) => `${verb} ${resource}`));
    const allowed = roles.flatMap((role) =>
      resources.flatMap((resource) =>
        verbs
          .filter((verb) => can(holder(role), verb, resource) && !named.has(`${verb} ${resource}`))
          .map((verb) => `${role} ${verb} ${resource}`),
      ),
    );
    expect(allowed).toEqual([]);
  });

  it('agrees with its own table for every role and right', () => {
    for (const { resource, verb, grants } of listRights()) {
      for (const role of roles) {
        const grant = grants[role];
        expect(can(holder(role), verb, resource), `${role} ${verb} ${resource}`).toBe(grant !== undefined);
        expect(can(holder(role), verb, resource, 'me')).toBe(grant !== undefined);
        expect(can(holder(role), verb, resource, 'somebody else')).toBe(grant === 'all');
      }
    }
  });

  it.each([
    ['decide', 'task'],
    ['execute', 'task'],
    ['execute', 'command'],
    ['cancel', 'command'],
    ['revoke', 'agent'],
    ['read', 'audit'],
    ['list', 'user'],
    ['create', 'user'],
    ['update', 'setting'],
  ] as const)('does not let the system token %s a %s', (verb, resource) => {
    expect(can(holder('system'), verb, resource)).toBe(false);
    expect(can(holder('system', 'admin'), verb, resource)).toBe(true);
  });

  it.each(['user', 'viewer', 'agent'] as const)('lets no %s decide or run anything', (role) => {
    for (const [verb, resource] of [
      ['decide', 'task'],
      ['execute', 'task'],
      ['execute', 'command'],
      ['enrol', 'agent'],
    ] as const) {
      expect(can(holder(role), verb, resource)).toBe(false);
    }
  });

  it('gives a principal without roles nothing', () => {
    for (const { resource, verb } of listRights()) expect(can(holder(), verb, resource)).toBe(false);
  });

  it('takes the widest grant of several roles', () => {
    expect(visibleOwner(holder('user'), 'task')).toBe('me');
    expect(visibleOwner(holder('user', 'viewer'), 'task')).toBeUndefined();
  });

  it('throws forbidden', () => {
    const refusal = catchError(() => assertCan(holder('viewer'), 'delete', 'task'));
    expect(isProblem(refusal, 'forbidden')).toBe(true);
  });
});

function catchError(run: () => void): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}
