/**
 * Text that came from a machine we do not trust, fit for storage and terminals: control characters (escapes, and NUL,
 * which no text column holds), lone surrogates (which jsonb refuses), and characters that reorder or hide what is shown
 * (bidirectional and zero-width ones, line separators) become U+FFFD.
 */
export const plainText = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cs}\p{Cf}\u2028\u2029]/gu, '\uFFFD');
