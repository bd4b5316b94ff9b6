import { describe, expect, it } from 'vitest';
import { checkVariables, fillVariables } from '../../domain/templates/variables.ts';

describe('fillVariables', () => {
  it('fills in what it knows and leaves the rest as it is written', () => {
    const values = new Map([
      ['title', 'Ship'],
      ['task', ''],
    ]);
    expect(fillVariables('{{title}}, {{task}}{{odd}} {{ title }} {title} {{toString}}', values)).toBe(
      'Ship, {{odd}} {{ title }} {title} {{toString}}',
    );
  });

  it('never fills in what stands in a value', () => {
    const values = new Map([
      ['title', '{{task}} $& $1'],
      ['task', 'secret'],
    ]);
    expect(fillVariables('{{title}}', values)).toBe('{{task}} $& $1');
  });
});

describe('checkVariables', () => {
  it('names each unknown variable once', () => {
    const rules = { allowed: ['a'], isStrict: false };
    expect(checkVariables('{{a}} {{b}} {{c}} {{b}}', rules)).toEqual([
      { type: 'unknown_variables', details: 'Unknown variables: b, c', allowed: ['a'] },
    ]);
    expect(checkVariables('no variables', rules)).toEqual([]);
    expect(() => checkVariables('{{b}}', { ...rules, isStrict: true })).toThrow('unknown variables: b');
  });
});
