/** What an agent says about a command, and which agent and journal it came from. */
import type { AgentFrame } from '../../contracts/agent-protocol.ts';

export type FrameOf<T extends AgentFrame['type']> = Extract<AgentFrame, { type: T }>;
export type LedgerFrame = FrameOf<'started'> | FrameOf<'output'> | FrameOf<'result'> | FrameOf<'notKnown'>;

export interface Report {
  agentId: string;
  journalId: string;
  frame: LedgerFrame;
}
