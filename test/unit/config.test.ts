import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { listVariables } from '../../config/variables.ts';
import {
  ConfigError,
  type Environment,
  parseConfig,
  type Role,
  settingsOverridableKeys,
} from '../../config.ts';
import { renderConfigMarkdown, renderEnvExample } from '../../stack/generate-config-docs.ts';

const home = mkdtempSync(join(tmpdir(), 'steelthread-config-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

const base: Environment = {
  STEELTHREAD_HOME: home,
  DATABASE_URL: 'postgres://u:p@db.example.com:5432/steelthread',
  TEMPORAL_ADDRESS: 'temporal.example.com:7233',
};
const production: Environment = {
  ...base,
  NODE_ENV: 'production',
  SECRET_KEY: 'k'.repeat(40),
  SETTINGS_ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64url'),
  TRUST_PROXY_HOPS: '1',
};

function problemsOf(env: Environment, role: Role = 'api') {
  try {
    parseConfig(env, { role });
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

describe('configuration', () => {
  it('reads a development environment with defaults', () => {
    const config = parseConfig(base, { role: 'api' });
    expect(config).toMatchObject({
      production: false,
      listen: [{ host: '127.0.0.1', port: 8000, profile: 'steel' }],
      temporalNamespace: 'default',
      temporalTaskQueue: 'steelthread',
      defaultTimeoutMs: 30_000,
      maxTimeoutMs: 300_000,
      outputCapBytes: 16 * 1024 * 1024,
      registration: 'open',
      logFormat: 'pretty',
      rateLimit: true,
      accessTokenTtlMs: null,
      anthropicApiKey: null,
      llmBudgetTaskUsd: 1,
      agentUrlAllow: ['127.0.0.0/8', '::1/128', 'localhost'],
      corsOrigins: [],
      warnings: [],
    });
    expect(config.version).toMatch(/^\d+\.\d+\.\d+/);
    expect(Object.isFrozen(config) && Object.isFrozen(config.listen)).toBe(true);
  });

  it('reports every problem at once, each with the variable and a fix', () => {
    const problems = problemsOf({
      STEELTHREAD_HOME: home,
      DATABASE_URL: 'sqlite:///var/lib/app.db',
      TEMPORAL_ADDRESS: 'nowhere',
      LISTEN: '0.0.0.0:8000:steel,8080:unknown',
      RATE_LIMIT: 'maybe',
      BACKEND_CORS_ORIGINS: '*',
      SECRET_KEY: 'short',
      SETTINGS_ENCRYPTION_KEY: 'no-fernet-key',
      DEFAULT_TIMEOUT: '400',
      OUTPUT_CAP_BYTES: '-1',
      TLS_CERT: '/etc/tls.pem',
    });
    expect(problems.map(({ variable }) => variable).sort()).toEqual(
      [
        ...['DATABASE_URL', 'TEMPORAL_ADDRESS', 'LISTEN', 'RATE_LIMIT', 'BACKEND_CORS_ORIGINS', 'SECRET_KEY'],
        ...['SETTINGS_ENCRYPTION_KEY', 'DEFAULT_TIMEOUT', 'OUTPUT_CAP_BYTES', 'TLS_KEY'],
      ].sort(),
    );
    for (const { fix } of problems) expect(fix).not.toBe('');
    const { message } = new ConfigError(problems);
    expect(message).toContain(`${problems.length} problems`);
    expect(message).toContain(
      'DATABASE_URL names a SQLite database, but only PostgreSQL 15 or newer is supported',
    );
    expect(message).toContain('Fix: set DATABASE_URL=postgres://');
  });

  it('never repeats a secret in a problem', () => {
    const problems = problemsOf({
      ...base,
      SECRET_KEY: 'hunter2',
      AGENT_TOKEN: 'hunter2',
      ADMIN_PASSWORD: 'hunter2',
    });
    expect(problems).toHaveLength(3);
    expect(JSON.stringify(problems)).not.toContain('hunter2');
  });

  it('asks a role only for what it needs', () => {
    const empty = { STEELTHREAD_HOME: home };
    expect(problemsOf(empty, 'dev')).toEqual([]);
    expect(problemsOf(empty, 'cli')).toEqual([]);
    expect(problemsOf(empty, 'migrate').map(({ variable }) => variable)).toEqual(['DATABASE_URL']);
    expect(problemsOf(empty, 'worker').map(({ variable }) => variable)).toEqual([
      'DATABASE_URL',
      'TEMPORAL_ADDRESS',
    ]);
  });

  it('treats an empty value as not set', () => {
    expect(parseConfig({ ...base, AGENT_TOKEN: '', LOG_LEVEL: ' ' }, { role: 'api' })).toMatchObject({
      agentToken: null,
      logLevel: 'info',
    });
  });

  it('names each entry of LISTEN that is wrong, and what is right', () => {
    const refused = (LISTEN: string) => problemsOf({ ...base, LISTEN }).map(({ problem }) => problem);
    expect(refused('99999:steel')).toEqual(['has the entry "99999:steel": port 99999 must be at most 65535']);
    expect(refused('localhost:8000')).toEqual([
      'has the entry "localhost:8000": the profile is missing; write localhost:8000:steel (profiles: steel, dex, ananta)',
    ]);
    expect(refused('8000:stee')).toEqual([
      'has the entry "8000:stee": there is no profile stee; use one of steel, dex, ananta',
    ]);
    expect(refused('8000:steel,::1:80:dex,70000:ananta')).toEqual([
      'has the entry "::1:80:dex": it must be [host:]port:profile, an IPv6 host in brackets, where profile is steel, dex, ananta; ' +
        'it has the entry "70000:ananta": port 70000 must be at most 65535',
    ]);
  });

  it('reads listeners with hosts, IPv6, profiles and port 0', () => {
    const { listen } = parseConfig(
      { ...base, LISTEN: '0:steel, [::1]:8080:dex,localhost:5500:ananta' },
      { role: 'api' },
    );
    expect(listen).toEqual([
      { host: '127.0.0.1', port: 0, profile: 'steel' },
      { host: '::1', port: 8080, profile: 'dex' },
      { host: 'localhost', port: 5500, profile: 'ananta' },
    ]);
    const twice = problemsOf({ ...base, LISTEN: '8000:steel,8000:dex' });
    expect(twice.map(({ problem }) => problem)).toEqual(['names 127.0.0.1:8000 twice']);
  });

  it('binds an address others can reach only with protection', () => {
    const open = { ...base, LISTEN: '0.0.0.0:8000:steel' };
    expect(problemsOf(open).map(({ variable }) => variable)).toEqual(['LISTEN']);
    expect(problemsOf({ ...open, ALLOW_PLAINTEXT: 'on' })).toEqual([]);
    expect(problemsOf({ ...open, TRUST_PROXY_HOPS: '1' })).toEqual([]);
    expect(problemsOf({ ...open, TLS_CERT: '/c.pem', TLS_KEY: '/k.pem' })).toEqual([]);
    const { warnings } = parseConfig({ ...open, ALLOW_PLAINTEXT: 'on' }, { role: 'api' });
    expect(warnings.join()).toContain('ALLOW_PLAINTEXT');
  });

  it('is strict in production', () => {
    expect(parseConfig(production, { role: 'api' })).toMatchObject({
      listen: [{ host: '0.0.0.0', port: 8000 }],
      registration: 'off',
      logFormat: 'json',
      agentUrlAllow: [],
    });
    const { SECRET_KEY: _, SETTINGS_ENCRYPTION_KEY: __, TRUST_PROXY_HOPS: ___, ...bare } = production;
    const problems = problemsOf({ ...bare, RATE_LIMIT: 'off' });
    expect(problems.map(({ variable }) => variable).sort()).toEqual(
      ['LISTEN', 'RATE_LIMIT', 'SECRET_KEY', 'SETTINGS_ENCRYPTION_KEY'].sort(),
    );
    expect(problemsOf({ ...bare, TRUST_PROXY_HOPS: '1' }, 'migrate')).toEqual([]);
  });

  it('generates keys once, keeps them private, and takes key lists for rotation', () => {
    const first = parseConfig(base, { role: 'api' });
    const second = parseConfig(base, { role: 'worker' });
    expect(first.secretKeys).toEqual(second.secretKeys);
    expect(first.settingsEncryptionKeys).toEqual(second.settingsEncryptionKeys);
    expect(Buffer.from(first.settingsEncryptionKeys[0] ?? '', 'base64url')).toHaveLength(32);
    const file = join(home, 'secrets', 'secret-key');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, 'utf8').trim()).toBe(first.secretKeys[0]);
    const rotated = parseConfig(
      { ...base, SECRET_KEY: `${'n'.repeat(32)},${'o'.repeat(32)}` },
      { role: 'api' },
    );
    expect(rotated.secretKeys).toEqual(['n'.repeat(32), 'o'.repeat(32)]);
  });

  it('reads origins as a comma list or a JSON array', () => {
    for (const text of [
      'https://a.example.com, http://b:3000',
      '["https://a.example.com/","http://b:3000"]',
    ]) {
      expect(parseConfig({ ...base, BACKEND_CORS_ORIGINS: text }, { role: 'api' }).corsOrigins).toEqual([
        'https://a.example.com',
        'http://b:3000',
      ]);
    }
    expect(problemsOf({ ...base, BACKEND_CORS_ORIGINS: '["https://a' })).toHaveLength(1);
  });

  it('answers OPENAI_* with a warning that names the right variable', () => {
    const { warnings } = parseConfig({ ...base, OPENAI_API_KEY: 'sk-x', OPENAI_MODEL: 'y' }, { role: 'api' });
    expect(warnings).toHaveLength(2);
    expect(warnings.join()).toContain('use ANTHROPIC_API_KEY');
    expect(warnings.join()).not.toContain('sk-x');
  });

  it('honours XDG_CACHE_HOME and switches TLS to Temporal on with an API key', () => {
    const config = parseConfig({ ...base, XDG_CACHE_HOME: '/xdg', TEMPORAL_API_KEY: 'key' }, { role: 'api' });
    expect(config.steelthreadCache).toBe('/xdg/steelthread');
    expect(config.temporalTls).toBe(true);
  });

  it('documents itself: the files on disk are the rendering of the table', () => {
    const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
    expect(read('.env.example')).toBe(renderEnvExample());
    expect(read('docs/reference/configuration.md')).toBe(renderConfigMarkdown());
  });

  it('gives an example and a default that its own parser accepts for every variable that is not secret', () => {
    for (const { variable } of listVariables()) {
      if (!variable.secret)
        expect(variable.schema.safeParse(variable.example), variable.name).toMatchObject({ success: true });
    }
    expect(settingsOverridableKeys()).toContain('defaultTimeoutMs');
  });
});
