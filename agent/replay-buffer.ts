/**
 * The newest bytes of a stream, by offset, in large blocks: a program that prints a lot is read in thousands of small
 * pieces, and each of them would be garbage to collect. So would the blocks: forgotten ones are written again.
 */

/** Size of a block, bytes. */
const BLOCK_BYTES = 64 * 1024;
/** Forgotten blocks that are kept to be written again. */
const MAX_SPARE_BLOCKS = 4;

export interface ReplayBuffer {
  /** Offset of the oldest byte kept. */
  start(): number;
  /** Length of the whole stream so far. */
  end(): number;
  /** The bytes are copied. */
  append(bytes: Uint8Array): void;
  /**
   * Bytes from this offset on, at most so many; empty at the end. The offset must be kept. They must not be changed, and
   * are only good until they are forgotten.
   */
  read(offset: number, maxBytes: number): Buffer;
  /** Forget blocks that are wholly before this offset. */
  forget(before: number): void;
}

export function createReplayBuffer(): ReplayBuffer {
  const blocks: Buffer[] = [];
  const spare: Buffer[] = [];
  /** Offset of the first block. */
  let start = 0;
  let end = 0;

  /** Room at the end, in the last block or in a new one. */
  const room = (): Buffer => {
    const used = end - start;
    if (used === blocks.length * BLOCK_BYTES) blocks.push(spare.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES));
    const last = blocks.at(-1) ?? Buffer.alloc(0);
    return last.subarray(used - (blocks.length - 1) * BLOCK_BYTES);
  };

  return {
    start: () => start,
    end: () => end,
    append(bytes) {
      for (let from = 0; from < bytes.length; ) {
        const target = room();
        const part = bytes.subarray(from, from + target.length);
        target.set(part);
        end += part.length;
        from += part.length;
      }
    },
    read(offset, maxBytes) {
      const until = Math.min(end, offset + maxBytes);
      const parts: Buffer[] = [];
      for (let at = offset; at < until; ) {
        const index = Math.floor((at - start) / BLOCK_BYTES);
        const blockStart = start + index * BLOCK_BYTES;
        const part = blocks[index]?.subarray(at - blockStart, until - blockStart);
        if (part === undefined || part.length === 0) break;
        parts.push(part);
        at += part.length;
      }
      return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
    },
    forget(before) {
      while (blocks.length > 0 && start + BLOCK_BYTES <= Math.min(before, end)) {
        const block = blocks.shift();
        if (block !== undefined && spare.length < MAX_SPARE_BLOCKS) spare.push(block);
        start += BLOCK_BYTES;
      }
    },
  };
}
