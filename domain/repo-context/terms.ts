/** Words of a question and of source text, so that `readTaskList`, `read_task_list` and "read the task list" meet. */

/** Most words of a question that are looked for. */
const MAX_TERMS = 24;
const MIN_TERM_LENGTH = 3;

/** Words of questions (English and German) that say nothing of what is looked for. */
const stopWords: ReadonlySet<string> = new Set(
  (
    'the and for are was were with that this from into have has had how what where when which who why does did can could ' +
    'should would will not you your our its all any use used using there their them then than but about please show me ' +
    'der die das und ist sind ein eine einen mit von fur auf wie was wer wird werden nicht auch bitte zeige'
  ).split(' '),
);

/** Lower-case words of a text, the parts of compound names each for themselves. */
export const wordsOf = (text: string): string[] =>
  text
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word.length >= MIN_TERM_LENGTH);

/** What a question looks for, each once. */
export function termsOf(question: string): string[] {
  const words = wordsOf(question).filter((word) => !stopWords.has(word));
  return [...new Set(words)].slice(0, MAX_TERMS);
}
