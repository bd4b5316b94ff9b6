import { describe, expect, it } from 'vitest';
import { deriveKey } from '../../domain/identity/key-classes.ts';
import { readModelTuning } from '../../domain/settings/model-settings.ts';
import { checkModel } from '../../llm/check.ts';
import { createLivePort } from '../../llm/live.ts';
import { createMockPort } from '../../llm/mock.ts';
import type { LlmPort } from '../../llm/port.ts';
import { systemPrompt, withInstructions } from '../../llm/prompt.ts';
import { startLlmStub } from '../support/llm-stub.ts';

describe('a live port', () => {
  it('is built once for the same settings, and anew for others', () => {
    let settings = { name: 'one' };
    const built: string[] = [];
    const port = createLivePort(
      () => settings,
      ({ name }): LlmPort => {
        built.push(name);
        return { ...createMockPort(), name, isMock: name === 'one' };
      },
    );
    expect(built).toEqual([]);
    expect([port.name, port.isMock, port.name]).toEqual(['one', true, 'one']);
    settings = { name: 'two' };
    expect([port.name, port.isMock]).toEqual(['two', false]);
    expect(built).toEqual(['one', 'two']);
  });
});

describe('how the model is asked', () => {
  const texts = (given: Record<string, string>) =>
    new Map(Object.entries(given).map(([key, value]) => [`model/${key}`, value]));

  it('is as stored, within what the model can take', () => {
    expect(readModelTuning(new Map())).toEqual({ maxTokens: null, temperature: null, instructions: null });
    expect(readModelTuning(texts({ max_tokens: '5', temperature: '1.5', instructions: 'x' }))).toEqual({
      maxTokens: 1_024,
      temperature: 1,
      instructions: 'x',
    });
    expect(readModelTuning(texts({ max_tokens: '4096', temperature: '0' }))).toMatchObject({
      maxTokens: 4_096,
      temperature: 0,
    });
  });

  it('puts the instructions of the installation behind the standing rules', () => {
    const text = withInstructions('Prefer apt.\u202eevil');
    expect(text.startsWith(systemPrompt)).toBe(true);
    expect(text).toContain('Prefer apt.');
    expect(text).not.toContain('\u202e');
  });
});

describe('the test of the model', () => {
  it('tells a wrong key, a provider that is away, and a caller that has gone', async () => {
    const stub = await startLlmStub();
    const check = { apiKey: 'wrong', model: 'claude-test-9', baseUrl: stub.url };
    const { signal } = new AbortController();
    await expect(checkModel(check, signal)).rejects.toMatchObject({ code: 'llm_auth' });
    await stub.close();
    await expect(checkModel(check, signal)).rejects.toMatchObject({ code: 'llm_unavailable' });
    await expect(checkModel(check, AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
  });
});

describe('keys by use', () => {
  const [one, other] = ['k'.repeat(32), 'l'.repeat(32)];
  const hex = (...given: Parameters<typeof deriveKey>) =>
    deriveKey(...given)
      .export()
      .toString('hex');

  it('differ by use and by SECRET_KEY, are not it, and stay the same', () => {
    const keys = [
      hex(one, 'access_token'),
      hex(one, 'refresh_token'),
      hex(other, 'access_token'),
      hex(other, 'refresh_token'),
      Buffer.from(one).toString('hex'),
    ];
    expect(new Set(keys).size).toBe(keys.length);
    expect(deriveKey(one, 'access_token')).toBe(deriveKey(one, 'access_token'));
    // Tokens that are out must stay valid over an update.
    expect(hex(one, 'access_token')).toBe('b0efc1e87cea2e63436d32f52813b842e3f3dd74a13f2c28a619c13c30ae6413');
  });
});
