import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ChatMessage, MAX_WINDOW_MESSAGES } from '../../llm/chat-port.ts';
import { buildChatPrompt, chatRules } from '../../llm/chat-prompt.ts';
import { createTextPieces } from '../../llm/chat-text.ts';
import { estimateTokens, fitWindow, noteLabel } from '../../llm/chat-window.ts';
import { readProposedTask } from '../../llm/propose-task.ts';

const user = (content: string): ChatMessage => ({ role: 'user', content });
const assistant = (content: string): ChatMessage => ({ role: 'assistant', content });

describe('the window of a conversation', () => {
  it('is all of a short one', () => {
    const messages = [user('a'), assistant('b'), user('c')];
    expect(fitWindow(messages)).toMatchObject({ messages, isCut: false });
  });

  it('keeps the newest whole messages, and begins with one of the user', () => {
    const long = 'x'.repeat(300); // 100 tokens and 4
    const messages = [
      user(`1${long}`),
      assistant(`2${long}`),
      user(`3${long}`),
      assistant(`4${long}`),
      user('5'),
    ];
    const starts = (maxTokens: number) => {
      const { messages: kept, isCut } = fitWindow(messages, { maxTokens });
      return [kept.map(({ content }) => content.slice(0, 1)).join(''), isCut];
    };
    expect(starts(1_000)).toEqual(['12345', false]);
    expect(starts(340)).toEqual(['345', true]);
    expect(starts(230)).toEqual(['345', true]);
    expect(starts(150)).toEqual(['5', true]);
    expect(starts(10)).toEqual(['5', true]);
  });

  it('shortens a question that does not fit alone in its middle, between characters', () => {
    const { messages, isCut } = fitWindow([user(`start ${'é'.repeat(9_000)} end`)], { maxTokens: 100 });
    expect(isCut).toBe(true);
    expect(messages[0]?.content).toMatch(/^start é+\n\[… \d+ of 18010 bytes left out here …\]\né+ end$/);
  });

  it('drops what is no part of a question: blanks, and what stands behind the last one', () => {
    const { messages } = fitWindow([
      user('a'),
      assistant(' \n'),
      user(' '),
      user('b  \n'),
      assistant('begun'),
    ]);
    expect(messages).toEqual([user('a\n\nb')]);
  });

  it('marks notes of the system, and joins them with their neighbour', () => {
    const note: ChatMessage = { role: 'system', content: 'Task 7 ended' };
    expect(fitWindow([user('a'), assistant('b'), note, user('c')]).messages).toEqual([
      user('a'),
      assistant('b'),
      user(`${noteLabel} Task 7 ended\n\nc`),
    ]);
  });

  it('is refused without a question', () => {
    expect(() => fitWindow([])).toThrow(TypeError);
    expect(() => fitWindow([assistant('a'), { role: 'system', content: 'n' }, user(' ')])).toThrow(TypeError);
  });

  it('always is what the protocol takes, ends with the question and keeps to its budget', () => {
    const message = fc.record({
      role: fc.constantFrom('user' as const, 'assistant' as const, 'system' as const),
      content: fc.string({ unit: 'binary', maxLength: 400 }),
    });
    const question = fc.string({ minLength: 1, maxLength: 400 }).filter((text) => text.trim() !== '');
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 30 }),
        question,
        fc.integer({ min: 80, max: 2_000 }),
        (before, text, maxTokens) => {
          const { messages, estimatedTokens } = fitWindow([...before, user(text)], { maxTokens });
          messages.forEach(({ role, content }, index) => {
            expect(role).toBe(index % 2 === 0 ? 'user' : 'assistant');
            expect(content.trim()).not.toBe('');
            expect(content.isWellFormed()).toBe(true);
          });
          expect(messages.length % 2).toBe(1);
          const whole = text.trimEnd();
          if (estimateTokens(whole) + 4 <= maxTokens)
            expect(messages.at(-1)?.content.endsWith(whole)).toBe(true);
          // The words that tell of a cut, and the line breaks between joined messages, stand beside the budget.
          expect(estimatedTokens).toBeLessThanOrEqual(maxTokens + 60);
        },
      ),
    );
  });

  it('holds no more than its most messages', () => {
    const messages = Array.from({ length: 999 }, (_, index) =>
      index % 2 === 0 ? user('q') : assistant('a'),
    );
    expect(fitWindow(messages).messages.length).toBeLessThanOrEqual(MAX_WINDOW_MESSAGES);
  });
});

describe('the prompt of a conversation', () => {
  const parts = { instructions: undefined, system: undefined, mayProposeTasks: true, isCut: false };

  it('has the rules first, then the installation, the caller, and what the model must know of itself', () => {
    expect(buildChatPrompt(parts)).toBe(chatRules);
    const full = buildChatPrompt({
      instructions: 'Be\u202e kind',
      system: 'You talk with Ada.',
      mayProposeTasks: false,
      isCut: true,
    });
    expect(full.startsWith(`${chatRules}\n\n`)).toBe(true);
    const places = ['Be<U+202E> kind', 'You talk with Ada.', 'may not create tasks', 'were left out'].map(
      (text) => full.indexOf(text),
    );
    expect(places).toEqual([...places].sort((a, b) => a - b));
    expect(places[0]).toBeGreaterThan(0);
  });
});

describe('text in pieces', () => {
  const through = (pieces: readonly string[]): string => {
    const text = createTextPieces();
    return pieces.map((piece) => text.push(piece)).join('') + text.end();
  };

  it('joins half characters and line ends over the border of two pieces', () => {
    expect(through(['a\ud83d', '\ude00b', '\r', '\nc\r\n'])).toBe('a😀b\nc\n');
  });

  it('replaces what no column and no terminal should hold', () => {
    expect(through(['a\0b\u001b[31m\t\n\u0085', '\ud83d', 'x', '\ude00', '\r'])).toBe(
      'a\uFFFDb\uFFFD[31m\t\n\uFFFD\uFFFDx\uFFFD\uFFFD',
    );
  });

  it('gives out the same however it is cut', () => {
    const units = fc.array(fc.constantFrom('a', ' ', '\n', '\r', '\0', '\ud83d', '\ude00', '€'), {
      maxLength: 20,
    });
    fc.assert(
      fc.property(units, (pieces) => {
        expect(through(pieces)).toBe(through([pieces.join('')]));
      }),
    );
  });
});

describe('a suggested task', () => {
  it('is read with what was left out as null', () => {
    expect(readProposedTask({ goal: ' tidy up ' })).toEqual({
      task: { title: null, goal: 'tidy up', agentId: null, tags: [] },
    });
    expect(readProposedTask({ goal: 'g', title: 't', agent_id: 'web-1', tags: ['prod'] })).toEqual({
      task: { title: 't', goal: 'g', agentId: 'web-1', tags: ['prod'] },
    });
  });

  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['a text', 'text'],
    ['no goal', {}],
    ['a blank goal', { goal: '  ' }],
    ['no id of an agent', { goal: 'g', agent_id: '../x' }],
    ['a goal that is too long', { goal: 'g'.repeat(20_001) }],
  ])('is refused with the reason: %s', (_name, input) => {
    expect(readProposedTask(input)).toEqual({ problem: expect.any(String) });
  });
});
