/**
 * Text of others, fit for the audit trail and for terminals that show it. C0 controls and DEL become their pictures
 * (ESC is shown as ␛, a line break as ␊), so that what was tried can still be read; C1 controls, lone surrogates (which
 * jsonb refuses), line separators and characters that reorder or hide text (bidirectional, zero-width, tags) become U+FFFD.
 */
export function visibleText(text: string): string {
  return UNSEEN.test(text) ? text.replace(EACH_UNSEEN, pictureOf) : text;
}

const UNSEEN = /[\p{Cc}\p{Cs}\p{Cf}\u2028\u2029]/u;
const EACH_UNSEEN = new RegExp(UNSEEN, 'gu');

/** First of the code points that show C0 controls, in their order (Unicode, Control Pictures). */
const FIRST_PICTURE = 0x2400;
const DELETE = 0x7f;
const DELETE_PICTURE = '\u2421';
const REPLACEMENT = '\uFFFD';

function pictureOf(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x20) return String.fromCodePoint(FIRST_PICTURE + code);
  return code === DELETE ? DELETE_PICTURE : REPLACEMENT;
}
