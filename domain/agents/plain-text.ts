/**
 * Text that came from a machine we do not trust, fit for storage and terminals: control characters (escapes, and NUL,
 * which no text column holds) and lone surrogates (which jsonb refuses) become U+FFFD.
 */
export const plainText = (text: string): string => text.replace(/[\p{Cc}\p{Cs}]/gu, '\uFFFD');
