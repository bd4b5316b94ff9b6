import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { createLogger } from '../../log.ts';

function logged(format: 'json' | 'pretty', write: (log: ReturnType<typeof createLogger>) => void): string {
  const lines: string[] = [];
  write(createLogger({ name: 'api', level: 'debug', format, stream: { write: (line) => lines.push(line) } }));
  return lines.join('');
}

/** A line break and a forged line, escapes of terminals (7 and 8 bit), NUL, what reorders, hides, or is half a character. */
const nasty =
  'x\r\n{"level":"info","event":"forged"}\u0000\u001b]0;title\u0007\u001b[2J\u009b31m\u007f\u202e\u2066\u200b\u2028\u{E0041}\ud800y';
/** Everything but the line feed that ends a line; in pretty lines those of stacks. */
const UNSEEN = /[^\P{Cc}\n]|[\p{Cf}\p{Cs}\u2028\u2029]/u;

const writeNasty = (log: ReturnType<typeof createLogger>): void => {
  log.info({ event: 'http_request', path: nasty, nested: { [nasty]: [nasty] }, address: nasty }, nasty);
  log
    .child({ requestId: nasty })
    .warn({ event: 'failed', err: new Error(nasty, { cause: new Error(nasty) }) });
};

describe('lines of the log', () => {
  it('of JSON hold one fact each, nothing that drives a terminal, and all that was said', () => {
    const text = logged('json', writeNasty);
    expect(text).not.toMatch(UNSEEN);
    const lines = text.split('\n').filter((line) => line !== '');
    expect(lines).toHaveLength(2);
    const [first, second] = lines.map((line) => JSON.parse(line));
    expect(first).toMatchObject({ event: 'http_request', path: nasty, address: nasty, msg: nasty });
    expect(second).toMatchObject({ event: 'failed', requestId: nasty });
  });

  it('for people hold nothing that drives a terminal, and no line that starts as another fact does', () => {
    const text = logged('pretty', writeNasty);
    expect(text).not.toMatch(UNSEEN);
    const heads = text.split('\n').filter((line) => line !== '' && !line.startsWith('    '));
    expect(heads).toHaveLength(2);
    for (const head of heads) expect(head).toMatch(/^\d\d:\d\d:\d\d\.\d{3} (info |WARN ) api /);
  });

  const jwt = 'eyJhbGciOiJIUzI1NiJ9.eyJ1aWQiOiJDQU5BUlkifQ.CANARY-signature';
  const secrets: [string, string][] = [
    ...['sta', 'sts', 'ste', 'str', 'stp', 'stk'].map((prefix): [string, string] => [
      `a token ${prefix}_`,
      `${prefix}_CANARY${'x'.repeat(37)}`,
    ]),
    ['a JWT', jwt],
    ['a bearer header', 'Bearer CANARY.abc'],
    ['a query', '/x?access_token=CANARY&y=1'],
    ['a query with another name', '/x?y=1&new-password=CANARY'],
    ['a password hash', `$2b$12$CANARY${'x'.repeat(47)}`],
    ['an authenticator URL', 'otpauth://totp/Steelthread:ada?secret=CANARY'],
    ['a key of the model', 'sk-ant-api03-CANARY'],
    ['a database URL', 'postgres://u:CANARY@db/x'],
  ];
  it.each(secrets)('hold no %s, in whatever field or message', (_name, secret) => {
    for (const format of ['json', 'pretty'] as const) {
      const text = logged(format, (log) => {
        log.info(
          { event: 'one', note: secret, list: [{ deep: `before ${secret} after` }] },
          `said ${secret}`,
        );
        log.child({ origin: secret }).error({ event: 'two', err: new Error(`broken: ${secret}`) });
      });
      expect(text).not.toContain('CANARY');
      expect(text).toContain('[redacted]');
    }
  });

  it.each([
    'password',
    'newPassword',
    'old_password',
    'passwordHash',
    'secret',
    'mfa_token',
    'mfaToken',
    'ticket',
    'backupCodes',
    'qrCode',
    'otpauthUrl',
    'otpauth_url',
    'authorization',
    'X-API-Key',
    'settingsEncryptionKeys',
    'secretKey',
  ])('hold no value of %s', (name) => {
    const text = logged('json', (log) =>
      log.info({ event: 'x', body: { [name]: 'CANARY' }, [name]: ['CANARY'] }),
    );
    expect(text).not.toContain('CANARY');
  });
});

describe('where lines cannot be written', () => {
  it.runIf(existsSync('/dev/full'))('the process goes on', () => {
    const log = JSON.stringify(new URL('../../log.ts', import.meta.url).href);
    const script = `import { createLogger } from ${log};
      const log = createLogger({ name: 'api' });
      for (let n = 0; n < 5_000; n++) log.info({ event: 'line', filler: 'x'.repeat(1_000) });
      setTimeout(() => {
        log.info({ event: 'later' });
        process.stderr.write('went on');
      }, 1);`;
    const full = openSync('/dev/full', 'w');
    const args = ['--import', 'tsx', '--input-type=module', '-e', script];
    const { status, stderr } = spawnSync(process.execPath, args, { stdio: ['ignore', full, 'pipe'] });
    closeSync(full);
    expect([status, String(stderr)]).toEqual([0, 'went on']);
  });
});
