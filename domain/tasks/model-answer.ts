/** What a model wrote, made fit to be stored and shown, or refused. */
import { LlmError, type ProposeAnswer } from '../../llm/port.ts';
import { findControl } from '../danger/unseen.ts';

/**
 * The answer with its prose cleaned. A command is never changed: one that cannot be shown as it would run is refused.
 * @throws LlmError llm_bad_answer
 */
export function fitAnswer(answer: ProposeAnswer): ProposeAnswer {
  if (answer.kind === 'done') return { ...answer, summary: plainProse(answer.summary) };
  const found = answer.command.isWellFormed() ? findControl(answer.command) : 'half of a surrogate pair';
  if (found !== undefined) {
    const message = `the model proposed a command that cannot be used: it holds ${found}`;
    throw new LlmError('llm_bad_answer', message);
  }
  return {
    ...answer,
    reason: plainProse(answer.reason),
    expectedEffect: plainProse(answer.expectedEffect),
  };
}

/** No text column holds NUL, no reader should meet escapes: control characters but tab and line feed become U+FFFD. */
export const plainProse = (text: string): string =>
  text.replaceAll('\r\n', '\n').replace(/[^\P{Cc}\t\n]|\p{Cs}/gu, '\uFFFD');
