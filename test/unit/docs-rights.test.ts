/** The pages on rights and credentials, compared with the code that decides. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { roles } from '../../contracts/principal.ts';
import { apiTokenScopes } from '../../contracts/scopes.ts';
import { REFRESH_GRACE_MS, REFRESH_TOKEN_TTL_MS, SESSION_TTL_MS } from '../../domain/identity/deps.ts';
import { tokenPrefixes } from '../../domain/identity/opaque-tokens.ts';
import { listRights } from '../../domain/policy.ts';
import { scopesAllow } from '../../domain/scopes.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** The policy as Markdown. */
function renderRights(): string {
  const rows = listRights().map(({ resource, verb, grants }) => {
    const marks = roles.map((role) => grants[role] ?? '–');
    const scopes = apiTokenScopes.filter((scope) => scopesAllow([scope], verb, resource));
    const told = scopes.length === apiTokenScopes.length ? 'any' : scopes.join(', ') || '–';
    return `| \`${resource}\` | ${verb} | ${marks.join(' | ')} | ${told} |`;
  });
  return [
    '# Roles and rights',
    '',
    'Rendered from the policy ([policy.ts](../../domain/policy.ts)) and the scopes of API tokens',
    '([scopes.ts](../../domain/scopes.ts)); a test compares them (`npx vitest run test/unit/docs-rights.test.ts -u` rewrites',
    'this page).',
    '',
    'A right is a verb on a resource. `all`: on every thing of that kind. `own`: on things whose owner asks. –: refused. A pair',
    'that is not named is refused to everybody. The last column names the scopes with one of which an API token may use the',
    'right, where the role of its owner holds it.',
    '',
    '* `viewer` reads. `user` has own tasks and may propose; a self-registered account is one. `operator` decides, executes and',
    '  manages agents. `admin` does everything that a person may.',
    '* `agent` is a machine with its own token. `system` is the holder of `AGENT_TOKEN`; with `AGENT_TOKEN_ADMIN=on` it holds the',
    '  rights of an administrator as well.',
    '* An account that must change its password may only see who it is, change the password, and log out.',
    '',
    `| resource | verb | ${roles.join(' | ')} | API token |`,
    `|---|---|${roles.map(() => '---').join('|')}|---|`,
    ...rows,
    '',
  ].join('\n');
}

it('docs/reference/roles.md is the policy', async () => {
  await expect(renderRights()).toMatchFileSnapshot(join(root, 'docs/reference/roles.md'));
});

describe('docs/reference/tokens.md', () => {
  const page = read('docs/reference/tokens.md');

  it('tells of every kind of token by its prefix, and of no other', () => {
    const named = new Set([...page.matchAll(/\| `(st\w_)…` \|/g)].map(([, prefix]) => prefix ?? ''));
    expect(named).toEqual(new Set(Object.values(tokenPrefixes)));
  });

  it('names the lifetimes that are in force', () => {
    const days = (ms: number): string => `${ms / 86_400_000} days`;
    expect(page).toContain(`${days(REFRESH_TOKEN_TTL_MS)} unless used`);
    expect(page).toContain(`session of ${days(SESSION_TTL_MS)} at most`);
    expect(page).toContain(`within ${REFRESH_GRACE_MS / 1000} s`);
  });
});

describe('SECURITY.md', () => {
  const page = read('SECURITY.md');

  it('tells how to rotate every variable that is a secret', () => {
    const variables = read('config/variables.ts');
    const secrets = [...variables.matchAll(/name: '([A-Z_]+)',(?:(?!\n {2}\w+: )[\s\S])*?secret: true/g)].map(
      ([, name]) => name ?? '',
    );
    expect(secrets).toContain('SECRET_KEY');
    expect(secrets.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
  });

  it('tells how to report', () => {
    expect(page).toMatch(/^## Reporting/m);
  });
});
