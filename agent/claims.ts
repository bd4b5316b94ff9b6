/**
 * Temporal delivery: turns "run this command id" into a claim on the control socket, and waits for its end.
 *
 * Invariants:
 *  T1. Without a socket nothing is claimed and nothing starts: the caller gets AgentNotConnectedError and tries again.
 *  T2. A claim is over when its run frame came, the server refused it, or the socket ended; in the last case the
 *      caller tries again, and an id that did arrive is then known and only waited for.
 */
import type { Commands } from './commands.ts';
import type { Link } from './link.ts';

/** Retryable: the agent has no control socket now. */
export class AgentNotConnectedError extends Error {
  override name = 'AgentNotConnectedError';
}

export type ClaimOutcome =
  /** The command ran (or was refused here) and the server has stored its result. */
  | { kind: 'recorded' }
  /** The server did not hand it out: it is final, expired, not queued or another agent's. */
  | { kind: 'refused'; state: string };

export interface Claims {
  /** Claim, run and resolve when the server has the result. @throws AgentNotConnectedError */
  runCommand(commandId: string, digest: string): Promise<ClaimOutcome>;
  arrived(commandId: string): void;
  refused(commandId: string, state: string): void;
  connectionLost(): void;
  close(): void;
}

export function createClaims(deps: { link: Link; commands: Commands }): Claims {
  const waiting = new Map<
    string,
    { answer: (refusedState: string | null) => void; fail: (error: Error) => void }
  >();
  let stopAll: (error: Error) => void = () => {};
  const stopped = new Promise<never>((_resolve, reject) => {
    stopAll = reject;
  });
  stopped.catch(() => {});

  const claim = (commandId: string, digest: string): Promise<string | null> =>
    new Promise((resolve, reject) => {
      if (!deps.link.send({ type: 'claim', commandId, digest })) {
        reject(new AgentNotConnectedError('the agent is not connected to its server'));
        return;
      }
      waiting.get(commandId)?.fail(new AgentNotConnectedError('a newer attempt claims this command'));
      waiting.set(commandId, { answer: resolve, fail: reject });
    });
  const answer = (commandId: string, refusedState: string | null): void => {
    const waiter = waiting.get(commandId);
    waiting.delete(commandId);
    waiter?.answer(refusedState);
  };
  const failAll = (error: Error): void => {
    for (const waiter of waiting.values()) waiter.fail(error);
    waiting.clear();
  };

  return {
    runCommand: async (commandId, digest) => {
      if (!deps.commands.isKnown(commandId)) {
        const refusedState = await claim(commandId, digest);
        if (refusedState !== null) return { kind: 'refused', state: refusedState };
      }
      await Promise.race([deps.commands.acked(commandId), stopped]);
      return { kind: 'recorded' };
    },
    arrived: (commandId) => answer(commandId, null),
    refused: (commandId, state) => answer(commandId, state),
    connectionLost: () => failAll(new AgentNotConnectedError('the control socket ended')),
    close: () => {
      const error = new AgentNotConnectedError('the agent stops');
      failAll(error);
      stopAll(error);
    },
  };
}
