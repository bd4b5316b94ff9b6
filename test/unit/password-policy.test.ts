import { describe, expect, it } from 'vitest';
import { commonPasswordList } from '../../domain/identity/common-password-list.ts';
import { type PasswordRules, refusePassword } from '../../domain/identity/password-policy.ts';

const ruleOf = (password: string, rules: Partial<PasswordRules> = {}) =>
  refusePassword(password, { names: ['ada', 'ada.lovelace@example.org'], ...rules })?.rule ?? null;

describe('the password policy', () => {
  it.each([
    ['short', 'too_short'],
    ['1234567', 'too_short'],
    ['\u{1f600}'.repeat(7), 'too_short'],
    ['a'.repeat(73), 'too_long'],
    ['\u00e9'.repeat(37), 'too_long'],
    ['\ufdfa\ufdfa\ufdfa', 'too_long'], // 3 characters, 54 letters of two bytes in NFKC
    ['Correct\u0000Horse', 'has_nul'],
    ['ada.lovelace', 'is_name'],
    ['ADA.Lovelace@example.org', 'is_name'],
    ['ada. lovelace', 'is_name'],
    ['password', 'too_common'],
    ['PassWord', 'too_common'],
    ['\uff50assword1', 'too_common'],
    ['pass word1', 'too_common'],
    ['qwertyuiop', 'too_common'],
    ['1q2w3e4r5t', 'too_common'],
    ['steelthread', 'too_common'],
    ['Changeme123', 'too_common'],
  ])('refuses %j: %s', (password, rule) => expect(ruleOf(password)).toBe(rule));

  it.each([
    'SecurePass123',
    'Correct-Horse-7',
    `${'a'.repeat(71)}b`,
    '\u5c71\u7530\u592a\u90ce\u306e\u5408\u8a00\u8449',
    'eight8ch',
  ])('takes %j', (password) => expect(ruleOf(password)).toBeNull());

  it('asks for more where a contract does, never for less', () => {
    expect(ruleOf('elevenchars', { minLength: 12 })).toBe('too_short');
    expect(ruleOf('twelve-chars', { minLength: 12 })).toBeNull();
    expect(ruleOf('sevench', { minLength: 3 })).toBe('too_short');
    for (const password of ['securepass123', 'SecurePassword', 'SECURE-PASS']) {
      expect(ruleOf(password, { needsUpperAndDigit: true })).toBe('needs_upper_and_digit');
    }
    expect(ruleOf('SecurePass123', { needsUpperAndDigit: true })).toBeNull();
  });

  it('knows thousands of common passwords, each as it is compared', () => {
    const list = commonPasswordList.trim().split(/\s+/);
    expect(list.length).toBeGreaterThan(10_000);
    expect(list.filter((password) => password.length >= 8 && ruleOf(password) !== 'too_common')).toEqual([]);
  });
});
