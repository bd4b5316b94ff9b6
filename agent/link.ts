/**
 * What the command code needs of the connection.
 */
import type { AgentFrame } from '../contracts/agent-protocol.ts';

export interface Link {
  /** Hand a frame to the socket; false when there is none (the frame is dropped, the reconnect announces anew). */
  send(frame: AgentFrame): boolean;
  /**
   * As `send`, for a binary frame, which must not be changed until `onLeft`: it has left, or never will. Not called when
   * this returns false.
   */
  sendBytes(frame: Buffer, onLeft?: () => void): boolean;
  /** False while there is no socket, or too much waits in its buffer: output waits then, small frames do not. */
  hasRoom(): boolean;
}
