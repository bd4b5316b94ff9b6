/**
 * Memory for the frames of terminals, used again and again: a program that prints would otherwise leave as much garbage
 * as it prints, and collecting that costs more than sending it.
 */
import { TERMINAL_HEADER_BYTES } from '../contracts/agent-protocol.ts';
import { PTY_READ_BYTES } from './pty.ts';

/**
 * Payload of a full frame, bytes: as many full reads of a PTY as fit, with the headers, into what a socket gives in one
 * read (64 KiB). A frame that lies in two reads is copied by its receiver.
 */
export const FRAME_PAYLOAD_BYTES = 15 * PTY_READ_BYTES;
/** Frames kept to be used again, of all terminals of the agent: 1 MiB. */
const MAX_SPARE_FRAMES = 17;

export interface TerminalFrames {
  /** Room for a header and FRAME_PAYLOAD_BYTES; give it back once the frame has left. */
  take(): Buffer;
  give(frame: Buffer): void;
}

export function createTerminalFrames(): TerminalFrames {
  const spare: Buffer[] = [];
  return {
    take: () => spare.pop() ?? Buffer.allocUnsafeSlow(TERMINAL_HEADER_BYTES + FRAME_PAYLOAD_BYTES),
    give: (frame) => {
      if (spare.length < MAX_SPARE_FRAMES) spare.push(frame);
    },
  };
}
