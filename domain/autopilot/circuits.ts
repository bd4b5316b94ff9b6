/** Workers addressed by URL that have failed so often in a row that they are left alone for a while. */
import type { Actor } from '../deps.ts';

export interface WorkerCircuit {
  workerUrl: string;
  /** Null: it is asked as always. */
  openUntil: Date | null;
  /** Failures in a row. */
  failureStreak: number;
}

export interface CircuitsPort {
  /** Those that have failed last time they were asked. */
  list(): Promise<WorkerCircuit[]>;
  /** Ask again at once: this one, or all. @returns how many there were @throws forbidden */
  reset(actor: Actor, workerUrl: string | null): Promise<number>;
}

/** Of an installation without such workers. */
export const noCircuits: CircuitsPort = { list: async () => [], reset: async () => 0 };
