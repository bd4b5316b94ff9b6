/**
 * Text that arrives in pieces, made fit to be stored and shown: no text column holds NUL, no reader should meet escapes.
 * Control characters but tab and line feed and lone surrogates become U+FFFD, CR LF becomes a line feed.
 */

const UNFIT = /[^\P{Cc}\t\n]|\p{Cs}/u;
const EACH_UNFIT = new RegExp(UNFIT, 'gu');

export interface TextPieces {
  /** The fit text so far not given out; may be empty. Half a character waits for its other half. */
  push(piece: string): string;
  /** What still waited. */
  end(): string;
}

export function createTextPieces(): TextPieces {
  let held = '';
  return {
    push(piece) {
      const text = held + piece;
      const isOpen = /[\r\uD800-\uDBFF]$/.test(text);
      held = isOpen ? text.slice(-1) : '';
      return toFit(isOpen ? text.slice(0, -1) : text);
    },
    end() {
      const rest = toFit(held);
      held = '';
      return rest;
    },
  };
}

const toFit = (text: string): string =>
  UNFIT.test(text) ? text.replaceAll('\r\n', '\n').replace(EACH_UNFIT, '\uFFFD') : text;
