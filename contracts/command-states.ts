/**
 * The one edge table of the command ledger: from, to, and who may write it.
 * Domain code derives its `where state in (…)` lists from here; a database trigger refuses every other edge; the
 * model test walks it.
 */
export const commandStates = [
  'queued',
  'sent',
  'running',
  'succeeded',
  'failed',
  'timed_out',
  'canceled',
  'expired',
  'rejected',
  'unknown',
] as const;
export type CommandState = (typeof commandStates)[number];

/** `server`: any process of ours by the rules of the ledger. `agent`: only a frame of the agent that holds the command. */
export type EdgeWriter = 'server' | 'agent';

export interface CommandEdge {
  from: CommandState;
  to: CommandState;
  by: EdgeWriter;
}

const edges = (from: CommandState, by: EdgeWriter, to: readonly CommandState[]): CommandEdge[] =>
  to.map((state) => ({ from, to: state, by }));

export const commandEdges: readonly CommandEdge[] = [
  ...edges('queued', 'server', ['sent', 'canceled', 'expired', 'rejected']),
  ...edges('sent', 'agent', [
    'running',
    'succeeded',
    'failed',
    'timed_out',
    'canceled',
    'expired',
    'rejected',
  ]),
  ...edges('sent', 'server', ['unknown']),
  ...edges('running', 'agent', ['succeeded', 'failed', 'timed_out', 'canceled']),
  ...edges('running', 'server', ['unknown']),
  // Agent evidence, once: an added, audited event that touches neither the batch counter nor the outbox.
  ...edges('unknown', 'agent', ['succeeded', 'failed', 'timed_out', 'canceled', 'expired', 'rejected']),
];

/** States a command never leaves (`unknown` may still be resolved once). */
export const finalCommandStates = [
  'succeeded',
  'failed',
  'timed_out',
  'canceled',
  'expired',
  'rejected',
  'unknown',
] as const satisfies readonly CommandState[];

export const isFinalCommandState = (state: CommandState): boolean =>
  (finalCommandStates as readonly CommandState[]).includes(state);

/** Margin after a deadline before the server calls a command `unknown`, milliseconds (promise P2). */
export const UNKNOWN_MARGIN_MS = 60_000;
