/**
 * Makes text that a command wrote fit to be shown to a model: bounded, visible, fenced.
 * A fence does not make a model immune, it only makes the border plain; that is why every proposal is decided.
 */

/** Bytes (UTF-8) of one output stream that the model sees of the newest step. */
export const outputLimitBytes = 8 * 1024;

/** Bytes (UTF-8) of one output stream that the model sees of older steps. */
export const olderOutputLimitBytes = 2 * 1024;

/** Share of a cut text that is kept from its head; the rest is kept from its tail, where errors stand. */
const headShare = 0.5;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * Replaces what a terminal or a reader would not show: control characters but newline and tab, lone surrogates,
 * bidirectional and zero-width characters become `<U+XXXX>`. CR LF becomes a newline.
 */
export function showInvisible(text: string): string {
  return text
    .replaceAll('\r\n', '\n')
    .replace(
      /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|\p{Cs}|[\u{e0000}-\u{e007f}]/gu,
      (found) => `<U+${(found.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}>`,
    );
}

/** Keeps head and tail within `limitBytes` of UTF-8 and says between them how many bytes were left out. */
export function cutMiddle(text: string, limitBytes: number): string {
  // Every UTF-16 unit takes at most three bytes: short texts need no encoding to be known short.
  if (text.length * 3 <= limitBytes) return text;
  const bytes = encoder.encode(text);
  if (bytes.length <= limitBytes) return text;
  let headEnd = Math.floor(limitBytes * headShare);
  let tailStart = bytes.length - (limitBytes - headEnd);
  // Never cut inside a character: continuation bytes are 10xxxxxx.
  while (headEnd > 0 && isContinuation(bytes[headEnd])) headEnd -= 1;
  while (tailStart < bytes.length && isContinuation(bytes[tailStart])) tailStart += 1;
  const head = decoder.decode(bytes.subarray(0, headEnd));
  const tail = decoder.decode(bytes.subarray(tailStart));
  return `${head}\n[… ${tailStart - headEnd} of ${bytes.length} bytes left out here …]\n${tail}`;
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}

/**
 * Puts untrusted text between two lines that carry `fenceId`. The id is random and new for every call, so the text
 * cannot know it; if it holds the id all the same (a replayed transcript), those places are blanked.
 */
export function fence(label: string, text: string, fenceId: string): string {
  const inner = text.replaceAll(fenceId, '<fence id removed>');
  return `<<<UNTRUSTED ${fenceId} ${label}>>>\n${inner}\n<<<END UNTRUSTED ${fenceId}>>>`;
}
