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
   * Copies bytes from this offset on to the beginning of `target`, at most as many as it has room for; gives how many, 0 at
   * the end. The offset must be kept.
   */
  copy(offset: number, target: Uint8Array): number;
  /** Forget blocks that are wholly before this offset. */
  forget(before: number): void;
}

export function createReplayBuffer(): ReplayBuffer {
  const blocks: Buffer[] = [];
  const spare: Buffer[] = [];
  /** Offset of the first block. */
  let start = 0;
  let end = 0;

  /** The last block, and how many bytes of it are written. Full in the beginning: the first byte asks for a block. */
  let last: Buffer = Buffer.alloc(0);
  let used = BLOCK_BYTES;
  const addBlock = (): void => {
    last = spare.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
    used = 0;
    blocks.push(last);
  };

  return {
    start: () => start,
    end: () => end,
    append(bytes) {
      for (let from = 0; from < bytes.length; ) {
        if (used === BLOCK_BYTES) addBlock();
        const room = BLOCK_BYTES - used;
        const part = from === 0 && bytes.length <= room ? bytes : bytes.subarray(from, from + room);
        last.set(part, used);
        used += part.length;
        end += part.length;
        from += part.length;
      }
    },
    copy(offset, target) {
      const until = Math.min(end, offset + target.length);
      let at = offset;
      while (at < until) {
        const index = Math.floor((at - start) / BLOCK_BYTES);
        const blockStart = start + index * BLOCK_BYTES;
        const part = blocks[index]?.subarray(at - blockStart, until - blockStart);
        if (part === undefined || part.length === 0) break;
        target.set(part, at - offset);
        at += part.length;
      }
      return at - offset;
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
