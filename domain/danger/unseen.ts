/**
 * Characters that make a text look like another one on a screen: what is approved must be what is seen (promise P5).
 *
 *  A. Control characters steer terminals, so no act may hold one; tab, line feed and CR LF are what scripts are made of.
 *  B. Characters that are not drawn, or that reorder what is drawn, may be meant (emoji, right-to-left names): they
 *     are named in the danger label.
 */

/** C0, DEL and C1 without tab and line feed; a carriage return only before a line feed. */
const control = /[^\P{Cc}\t\n\r]|\r(?!\n)/u;

/**
 * Format characters (all of the bidirectional ones, zero-width ones, soft hyphen, tags), line and paragraph separators,
 * letters and marks that are drawn as nothing, and halves of surrogate pairs.
 */
const hidden =
  /[\p{Cf}\p{Cs}\u2028\u2029\u115f\u1160\u2800\u3164\uffa0]|\u034f|\u17b4|\u17b5|[\u180b-\u180f]/gu;

/** Most code points that are named; more would bury the other reasons. */
const MAX_NAMED = 5;

/** The first control character an act may not hold, as `U+001B`; undefined when there is none. */
export function findControl(text: string): string | undefined {
  const found = control.exec(text);
  return found === null ? undefined : nameOf(found[0]);
}

/** The hidden characters of a text as `U+202E, U+200B`, each once; undefined when there are none. */
export function listHidden(text: string): string | undefined {
  const names = new Set(Array.from(text.matchAll(hidden), ([character]) => nameOf(character)));
  if (names.size === 0) return undefined;
  const shown = [...names].slice(0, MAX_NAMED).join(', ');
  return names.size > MAX_NAMED ? `${shown} and ${names.size - MAX_NAMED} others` : shown;
}

const nameOf = (character: string): string =>
  `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`;
