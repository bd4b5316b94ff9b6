import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type Principal, resources, roles, verbs } from '../../contracts/principal.ts';
import { rateClasses } from '../../contracts/rate-classes.ts';
import { apiTokenScopes } from '../../contracts/scopes.ts';
import { can } from '../../domain/policy.ts';
import { scopeRights, scopesAllow } from '../../domain/scopes.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(`${root}${path}`, 'utf8');
const rows = (path: string): string[][] =>
  [...read(path).matchAll(/^\| `[^`]+` \|.*$/gm)].map(([line]) => line.split('|').map((cell) => cell.trim()));

const every = resources.flatMap((resource) => verbs.map((verb) => [verb, resource] as const));
const owner = (role: Principal['roles'][number]): Principal => ({
  kind: 'user',
  id: 'me',
  name: 'me',
  roles: [role],
  sessionId: null,
});

describe('scopes', () => {
  it('only take away: with all of them nobody may more than by role', () => {
    for (const role of roles) {
      for (const [verb, resource] of every) {
        const token = { ...owner(role), scopes: apiTokenScopes };
        if (can(token, verb, resource)) expect(can(owner(role), verb, resource)).toBe(true);
        expect(can({ ...owner(role), scopes: [] }, verb, resource)).toBe(
          can(owner(role), verb, resource) && verb === 'read' && resource === 'session',
        );
      }
    }
  });

  it('never hold what would make a token more than it is', () => {
    const held = every.filter(([verb, resource]) => scopesAllow(apiTokenScopes, verb, resource));
    const writes = held
      .filter(([verb]) => verb !== 'list' && verb !== 'read')
      .map(([, resource]) => resource);
    for (const resource of [
      'user',
      'session',
      'ticket',
      'api_token',
      'password',
      'profile',
      'mfa',
      'system',
    ] as const) {
      expect(writes).not.toContain(resource);
    }
    expect(held.map((pair) => pair.join(' '))).not.toContain('list api_token');
  });

  it('that change a thing also show it: the answer to a change is the thing', () => {
    for (const scope of apiTokenScopes) {
      for (const [resource, held] of Object.entries(scopeRights[scope])) {
        if (resource === 'system' || !held.some((verb) => verb !== 'list' && verb !== 'read')) continue;
        expect([scope, resource, held.includes('read') && held.includes('list')]).toEqual([
          scope,
          resource,
          true,
        ]);
      }
    }
  });

  it('are those the page lists', () => {
    expect(rows('docs/reference/api-tokens.md').map(([, scope]) => scope)).toEqual(
      apiTokenScopes.map((scope) => `\`${scope}\``),
    );
  });
});

describe('docs/reference/limits.md', () => {
  it('lists every rate class with its numbers', () => {
    const listed = rows('docs/reference/limits.md').map((cells) => cells.slice(1, 6));
    const expected = Object.entries(rateClasses).map(([name, rate]) => [
      `\`${name}\``,
      String(rate.calls),
      `${rate.windowSeconds} s`,
      rate.by,
      'isShared' in rate ? 'yes' : 'no',
    ]);
    expect(listed).toEqual(expected);
  });
});
