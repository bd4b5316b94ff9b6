/** What the workflow of webhook deliveries goes through. Each is played by a test and recorded for the replay test. */
import { expect } from 'vitest';
import type { RoundScript, WebhookPlay } from './webhook-plays.ts';

export interface WebhookScenario {
  name: string;
  prepare(): { script: RoundScript; drive(play: WebhookPlay): Promise<void> };
}

/** Longer than any test. */
const LONG_MS = 3_600_000;

export const webhookScenarios: WebhookScenario[] = [
  {
    name: 'webhook-delivered-at-once',
    prepare: () => ({
      script: () => ({ kind: 'over' }),
      drive: async (play) => void (await play.handle.result()),
    }),
  },
  {
    name: 'webhook-more-than-a-round',
    prepare: () => ({
      script: (round) => (round < 3 ? { kind: 'more' } : { kind: 'over' }),
      drive: async (play) => void (await play.handle.result()),
    }),
  },
  {
    name: 'webhook-tries-again-when-it-is-due',
    prepare: () => ({
      script: (round) => (round < 3 ? { kind: 'sleep', ms: 50 } : { kind: 'over' }),
      drive: async (play) => void (await play.handle.result()),
    }),
  },
  {
    name: 'webhook-rung-while-it-sleeps',
    prepare: () => ({
      script: (round) => (round === 1 ? { kind: 'sleep', ms: LONG_MS } : { kind: 'over' }),
      drive: async (play) => {
        await play.untilRounds(1);
        await play.ring();
        await play.handle.result();
      },
    }),
  },
  {
    // The bell is heard between the end of the round and its answer.
    name: 'webhook-rung-in-the-round',
    prepare: () => {
      let goOn = (): void => undefined;
      const held = new Promise<void>((resolve) => {
        goOn = resolve;
      });
      return {
        script: async (round) => {
          if (round === 1) await held;
          return round === 1 ? { kind: 'sleep', ms: LONG_MS } : { kind: 'over' };
        },
        drive: async (play) => {
          await play.untilRounds(1);
          await play.ring();
          goOn();
          await play.handle.result();
        },
      };
    },
  },
  {
    name: 'webhook-continues-as-new',
    prepare: () => ({
      script: (round) => (round <= 100 ? { kind: 'more' } : { kind: 'over' }),
      drive: async (play) => {
        await play.handle.result();
        expect(play.rounds).toHaveLength(101);
      },
    }),
  },
];
