/** The settings store on real Postgres: what is stored, who hears of it, and what never comes out. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseConfig } from '../../config.ts';
import { SECRET_MASK } from '../../contracts/settings.ts';
import { createRunningConfig } from '../../core/running-config.ts';
import type { Log } from '../../domain/deps.ts';
import { resealSecrets } from '../../domain/reseal-secrets.ts';
import { createSecretBox } from '../../domain/secret-box.ts';
import { createSettingsReader } from '../../domain/settings/reader.ts';
import { changeSettings, getSetting, listSettings } from '../../domain/settings/store.ts';
import { createLogger } from '../../log.ts';
import {
  actorOf,
  type IdentityStack,
  readAudit,
  startIdentity,
  testFernetKey,
  testKey,
} from '../support/identity.ts';

const admin = actorOf('admin');
const canary = 'sk-canary-0123456789';

let stack: IdentityStack;
beforeAll(async () => {
  stack = await startIdentity();
});
afterAll(() => stack.close());

const put = (namespace: 'config' | 'model' | 'custom', key: string, value: string, isSecret?: boolean) =>
  changeSettings(stack.deps, admin, [{ namespace, key, value, isSecret }]);
const forget = (namespace: 'config' | 'model' | 'custom', key: string) =>
  changeSettings(stack.deps, admin, [{ namespace, key, value: null }]);
const get = (namespace: 'config' | 'model' | 'custom', key: string) =>
  getSetting(stack.deps, admin, namespace, key);
const dump = async (): Promise<string> =>
  JSON.stringify([
    await stack.db('settings').select(),
    await stack.db('audit_events').select(),
    await stack.db('events').select(),
  ]);
const refused = (field: string, message: string) => ({
  code: 'validation_failed',
  issues: [expect.objectContaining({ path: [field], message: expect.stringContaining(message) })],
});
const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };

describe('a setting', () => {
  it('overrides the environment, shows so, and gives way again', async () => {
    const before = await get('config', 'MAX_TIMEOUT');
    expect(before).toMatchObject({ value: '300', isStored: false, isSecret: false, unit: 'seconds' });
    const [after] = await put('config', 'MAX_TIMEOUT', '600');
    expect(after).toMatchObject({ value: '600', isStored: true, updatedBy: 'admin-1' });
    expect(stack.running.limits.maxTimeoutMs).toBe(600_000);
    await forget('config', 'MAX_TIMEOUT');
    expect(await get('config', 'MAX_TIMEOUT')).toEqual(before);
    expect(stack.running.limits.maxTimeoutMs).toBe(300_000);
    await expect(forget('config', 'MAX_TIMEOUT')).rejects.toMatchObject({ code: 'setting_not_found' });
  });

  it('is refused as the variable would be, without repeating the value', async () => {
    const wish = put('config', 'MAX_TIMEOUT', 'for ever and ever');
    await expect(wish).rejects.toMatchObject(refused('value', 'whole number'));
    await expect(wish).rejects.not.toMatchObject(refused('value', 'for ever'));
    await expect(put('config', 'REGISTRATION', 'maybe')).rejects.toMatchObject(refused('value', 'open, off'));
    await expect(put('config', 'LOG_LEVEL', '')).rejects.toMatchObject(refused('value', 'empty'));
    await expect(put('model', 'temperature', '1e2')).rejects.toMatchObject(refused('value', 'number'));
    await expect(put('model', 'max_tokens', '0')).rejects.toMatchObject(refused('value', 'whole number'));
  });

  it('that the server does not know exists only in custom', async () => {
    for (const key of ['SECRET_KEY', 'DATABASE_URL', 'AGENT_TOKEN', 'constructor', 'toString']) {
      await expect(put('config', key, 'x')).rejects.toMatchObject({ code: 'setting_not_found' });
      await expect(get('config', key)).rejects.toMatchObject({ code: 'setting_not_found' });
    }
    expect(await put('custom', 'SECRET_KEYS', 'x')).toHaveLength(1);
  });

  it('fits the others, and several are set together or not at all', async () => {
    await expect(put('config', 'DEFAULT_TIMEOUT', '301')).rejects.toMatchObject(
      refused('value', 'longer than MAX_TIMEOUT'),
    );
    const both = (defaultTimeout: string) =>
      changeSettings(stack.deps, admin, [
        { namespace: 'config', key: 'DEFAULT_TIMEOUT', value: defaultTimeout },
        { namespace: 'config', key: 'MAX_TIMEOUT', value: '900' },
      ]);
    await expect(both('901')).rejects.toMatchObject({ code: 'validation_failed' });
    expect(await get('config', 'MAX_TIMEOUT')).toMatchObject({ isStored: false });
    await both('301');
    // The other way round, where the order of writing would matter.
    await expect(put('config', 'MAX_TIMEOUT', '300')).rejects.toMatchObject({ code: 'validation_failed' });
    await forget('config', 'DEFAULT_TIMEOUT');
    await forget('config', 'MAX_TIMEOUT');
  });

  it('is known to every process that asks for it, by notification and by poll', async () => {
    let seen: ReadonlyMap<string, string> = new Map();
    const reader = createSettingsReader({
      db: stack.db,
      secrets: createSecretBox([testFernetKey]),
      log: silentLog,
      onChange: (texts) => {
        seen = texts;
      },
    });
    await reader.ready;
    await put('config', 'ANTHROPIC_API_KEY', canary);
    // Twenty at once: whoever asked after the change sees it.
    await Promise.all(Array.from({ length: 20 }, () => reader.refresh()));
    expect(seen.get('config/ANTHROPIC_API_KEY')).toBe(canary);
    await reader.close();
    await reader.close();
    await forget('config', 'ANTHROPIC_API_KEY');
  });

  it('tells what changed and who did it, in an event and an audit row', async () => {
    await put('model', 'max_tokens', '4096');
    await put('model', 'max_tokens', '2048');
    await forget('model', 'max_tokens');
    const rows = (await readAudit(stack.db, 'setting.update')).slice(-2);
    expect(rows).toMatchObject([
      { target_id: 'model/max_tokens', principal_id: 'admin-1', details: { from: null, to: '4096' } },
      { target_id: 'model/max_tokens', details: { from: '4096', to: '2048' } },
    ]);
    expect((await readAudit(stack.db, 'setting.delete')).at(-1)).toMatchObject({
      details: { from: '2048', to: null },
    });
    expect(stack.events.at(-1)).toMatchObject({
      type: 'setting.changed',
      data: { namespace: 'model', key: 'max_tokens' },
    });
  });

  it('reaches the log, and gives way to an environment it no longer fits', async () => {
    await put('config', 'LOG_LEVEL', 'error');
    await put('config', 'DEFAULT_TIMEOUT', '200');
    const lines: string[] = [];
    const log = createLogger({
      name: 'test',
      level: 'info',
      stream: { write: (line) => void lines.push(line) },
    });
    const env = {
      DATABASE_URL: 'postgres://u:p@127.0.0.1/x',
      TEMPORAL_ADDRESS: '127.0.0.1:1',
      SECRET_KEY: testKey,
      SETTINGS_ENCRYPTION_KEY: testFernetKey,
      MAX_TIMEOUT: '100',
    };
    const config = parseConfig(env, { role: 'api' });
    const running = createRunningConfig(config, { db: stack.db, secrets: stack.deps.secrets, log });
    await running.ready;
    expect(log.level).toBe('error');
    expect(running.limits).toMatchObject({ defaultTimeoutMs: 100_000, maxTimeoutMs: 100_000 });
    expect(lines.join()).toContain('settings_do_not_fit');
    await forget('config', 'LOG_LEVEL');
    await forget('config', 'DEFAULT_TIMEOUT');
    await running.refresh();
    expect(log.level).toBe('info');
    expect(running.limits.defaultTimeoutMs).toBe(30_000);
    await running.close();
  });

  it('is for administrators alone', async () => {
    for (const role of ['viewer', 'user', 'operator', 'system', 'agent'] as const) {
      const actor = actorOf(role);
      const change = { namespace: 'custom', key: 'x', value: 'x' } as const;
      for (const act of [
        () => listSettings(stack.deps, actor),
        () => getSetting(stack.deps, actor, 'config', 'MAX_TIMEOUT'),
        () => changeSettings(stack.deps, actor, [change]),
        () => changeSettings(stack.deps, actor, [{ ...change, value: null }]),
      ]) {
        await expect(act()).rejects.toMatchObject({ code: 'forbidden' });
      }
    }
  });
});

describe('a secret', () => {
  it('is sealed at rest and masked wherever it is read', async () => {
    const [view] = await put('config', 'ANTHROPIC_API_KEY', canary);
    expect(view).toMatchObject({ value: SECRET_MASK, isSecret: true, isStored: true });
    expect(stack.running.model().apiKey).toBe(canary);
    const shown = JSON.stringify(await listSettings(stack.deps, admin));
    expect(shown).not.toContain(canary);
    expect(await dump()).not.toContain(canary);
    expect(JSON.stringify(stack.events)).not.toContain(canary);
    const [stored] = await stack.db('settings').where({ key: 'ANTHROPIC_API_KEY' });
    expect(stored).toMatchObject({ is_encrypted: true, value: expect.stringMatching(/^gAAAA/) });
  });

  it('stays as it is when its mask is written back', async () => {
    await put('config', 'ANTHROPIC_API_KEY', SECRET_MASK);
    expect(stack.running.model().apiKey).toBe(canary);
    await forget('config', 'ANTHROPIC_API_KEY');
    await expect(put('config', 'ANTHROPIC_API_KEY', SECRET_MASK)).rejects.toMatchObject(
      refused('value', 'none is stored'),
    );
    await expect(put('custom', 'my_api_key', SECRET_MASK)).rejects.toMatchObject(refused('value', 'mask'));
  });

  it('in custom is what the client says, or what the name says', async () => {
    expect(await put('custom', 'smtp_password', canary)).toMatchObject([{ value: SECRET_MASK }]);
    expect(await put('custom', 'plain', 'text')).toMatchObject([{ value: 'text', isSecret: false }]);
    expect(await put('custom', 'note', canary, true)).toMatchObject([{ value: SECRET_MASK }]);
    // Once a secret it stays one …
    expect(await put('custom', 'note', 'another')).toMatchObject([{ value: SECRET_MASK }]);
    // … and is not uncovered by calling it none.
    await expect(put('custom', 'note', SECRET_MASK, false)).rejects.toMatchObject(
      refused('isSecret', 'cannot uncover'),
    );
    expect(await put('custom', 'note', 'open now', false)).toMatchObject([{ value: 'open now' }]);
    await expect(put('config', 'ANTHROPIC_API_KEY', 'x', false)).rejects.toMatchObject(
      refused('isSecret', 'fixed'),
    );
  });

  it('does not open in another row', async () => {
    await put('custom', 'one_secret', 'first');
    await put('custom', 'two_secret', 'second');
    const rows = await stack.db('settings').whereIn('key', ['one_secret', 'two_secret']).orderBy('key');
    await stack.db('settings').where({ key: 'one_secret' }).update({ value: rows[1].value });
    await stack.db('settings').where({ key: 'two_secret' }).update({ value: rows[0].value });
    const errors: string[] = [];
    let seen: ReadonlyMap<string, string> = new Map();
    const reader = createSettingsReader({
      db: stack.db,
      secrets: createSecretBox([testFernetKey]),
      log: { ...silentLog, error: ({ event, setting }) => void errors.push(`${event} ${setting}`) },
      onChange: (texts) => {
        seen = texts;
      },
    });
    await reader.refresh();
    await reader.refresh();
    await reader.close();
    expect(errors.sort()).toEqual([
      'setting_unreadable custom/one_secret',
      'setting_unreadable custom/two_secret',
    ]);
    expect([seen.get('custom/one_secret'), seen.get('custom/two_secret')]).toEqual([undefined, undefined]);
    await forget('custom', 'one_secret');
    await forget('custom', 'two_secret');
  });

  it('moves to a new first key, after which the old one is not needed', async () => {
    await put('config', 'ANTHROPIC_API_KEY', canary);
    const [user] = await stack.db('users').select('id');
    const sealedSecret = stack.deps.secrets.seal(`mfa/${user.id}`, 'JBSWY3DPEHPK3PXP');
    await stack.db('user_mfa').insert({ user_id: user.id, sealed_secret: sealedSecret });
    const newKey = `${randomBytes(32).toString('base64url')}=`;
    const both = { db: stack.db, secrets: createSecretBox([newKey, testFernetKey]), log: silentLog };
    const results = await Promise.all([resealSecrets(both), resealSecrets(both)]);
    const settings = await stack.db('settings').where({ is_encrypted: true });
    const sealed = [...settings, ...(await stack.db('user_mfa'))];
    expect(sealed.length).toBeGreaterThan(settings.length);
    expect(results.map(({ resealed }) => resealed).reduce((a, b) => a + b)).toBe(sealed.length);
    expect(await resealSecrets(both)).toEqual({ resealed: 0, unreadable: 0 });
    const [row] = await stack.db('settings').where({ key: 'ANTHROPIC_API_KEY' });
    expect(createSecretBox([newKey]).open('setting/config/ANTHROPIC_API_KEY', row.value)).toBe(canary);
    const [mfa] = await stack.db('user_mfa').where({ user_id: user.id });
    expect(createSecretBox([newKey]).open(`mfa/${user.id}`, mfa.sealed_secret)).toBe('JBSWY3DPEHPK3PXP');
    // A box without either key loses nothing: it says so and leaves the rows alone.
    const foreign = { ...both, secrets: createSecretBox([`${Buffer.alloc(32, 1).toString('base64url')}=`]) };
    expect(await resealSecrets(foreign)).toEqual({ resealed: 0, unreadable: sealed.length });
    expect(await stack.db('settings').where({ key: 'ANTHROPIC_API_KEY' })).toEqual([row]);
  });
});
