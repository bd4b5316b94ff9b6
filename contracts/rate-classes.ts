/**
 * How often a route may be called. A route names its class; the numbers are only here.
 * `by: 'principal'` counts per user or agent, the shared token per address, and per address while nobody is known.
 */
import type { Family } from './families/family.ts';

export interface RateClass {
  /** Calls allowed in one window. */
  calls: number;
  windowSeconds: number;
  by: 'principal' | 'address';
  /** All API processes count together; otherwise each allows as many. It costs a statement a call. */
  isShared?: true;
}

export const rateClasses = {
  read: { calls: 1200, windowSeconds: 60, by: 'principal' },
  write: { calls: 600, windowSeconds: 60, by: 'principal' },
  /** `read` and `write` of every family but ours, as their contracts have it. */
  family_read: { calls: 120, windowSeconds: 60, by: 'principal' },
  family_write: { calls: 60, windowSeconds: 60, by: 'principal' },
  login: { calls: 5, windowSeconds: 60, by: 'address', isShared: true },
  refresh: { calls: 10, windowSeconds: 60, by: 'address', isShared: true },
  logout: { calls: 10, windowSeconds: 60, by: 'address' },
  account: { calls: 60, windowSeconds: 60, by: 'principal' },
  account_registration: { calls: 5, windowSeconds: 60, by: 'address', isShared: true },
  agent_registration: { calls: 20, windowSeconds: 60, by: 'address' },
  /** Of agents over HTTP: by the shared token a whole site speaks from one address, each every 30 s. */
  heartbeat: { calls: 6_000, windowSeconds: 60, by: 'principal' },
  task_creation_by_address: { calls: 20, windowSeconds: 60, by: 'address' },
  model: { calls: 10, windowSeconds: 60, by: 'principal' },
  /** Prompts to the command line programs of the server's machine, as ananta has it. */
  cli_backend: { calls: 5, windowSeconds: 60, by: 'principal', isShared: true },
  /** As alice has it: sending, and looking at what was said. */
  chat: { calls: 10, windowSeconds: 60, by: 'principal' },
  chat_reading: { calls: 60, windowSeconds: 60, by: 'principal' },
  report: { calls: 10, windowSeconds: 60, by: 'address' },
} as const satisfies Record<string, RateClass>;

type CountedClassName = keyof typeof rateClasses;

/** `unlimited` is for probes and static pages. */
export type RateClassName = Exclude<CountedClassName, 'family_read' | 'family_write'> | 'unlimited';

/**
 * The class whose numbers a route of this family is held to; undefined where nothing is counted. What families ask of
 * their users they do not ask of agents and of the shared token, which speak for whole fleets.
 */
export function countedClassOf(
  family: Family,
  name: RateClassName,
  caller: 'user' | 'agent' | 'system' | null,
): CountedClassName | undefined {
  if (name === 'unlimited') return undefined;
  if (family === 'house' || (name !== 'read' && name !== 'write')) return name;
  if (caller === 'agent' || caller === 'system') return name;
  return name === 'read' ? 'family_read' : 'family_write';
}
