/** Remembers answers for a while, so that the same question is not paid for twice. In this process only. */
import { createHash } from 'node:crypto';

/** How long an answer is given again, milliseconds. */
export const RECENT_ANSWER_MS = 10 * 60_000;
/** Answers that are kept; the one given longest ago goes first. */
export const MAX_RECENT_ANSWERS = 500;

export interface RecentAnswers<Answer> {
  /** @param question anything that JSON can tell apart from every other question, with whoever asks in it */
  find(question: unknown): Answer | undefined;
  keep(question: unknown, answer: Answer): void;
}

/** @param now milliseconds of any clock that only goes on */
export function createRecentAnswers<Answer>(
  now: () => number = () => performance.now(),
): RecentAnswers<Answer> {
  // Oldest first, all kept equally long: what is over stands in front.
  const answers = new Map<string, { answer: Answer; until: number }>();

  function forgetOld(): void {
    for (const [key, { until }] of answers) {
      if (until > now() && answers.size <= MAX_RECENT_ANSWERS) return;
      answers.delete(key);
    }
  }

  return {
    find(question) {
      forgetOld();
      return answers.get(keyOf(question))?.answer;
    },
    keep(question, answer) {
      const key = keyOf(question);
      answers.delete(key);
      answers.set(key, { answer, until: now() + RECENT_ANSWER_MS });
      forgetOld();
    },
  };
}

/** Questions themselves are not kept. */
const keyOf = (question: unknown): string =>
  createHash('sha256').update(JSON.stringify(question)).digest('base64');
