/**
 * How often a route may be called. A route names its class; the numbers are only here.
 * `by: 'principal'` counts per user, agent or system token, and per address while nobody is known.
 */

interface RateClass {
  /** Calls allowed in one window. */
  calls: number;
  windowSeconds: number;
  by: 'principal' | 'address';
}

export const rateClasses = {
  read: { calls: 1200, windowSeconds: 60, by: 'principal' },
  write: { calls: 600, windowSeconds: 60, by: 'principal' },
  login: { calls: 5, windowSeconds: 60, by: 'address' },
  refresh: { calls: 10, windowSeconds: 60, by: 'address' },
  logout: { calls: 10, windowSeconds: 60, by: 'address' },
  account_registration: { calls: 5, windowSeconds: 60, by: 'address' },
  agent_registration: { calls: 20, windowSeconds: 60, by: 'address' },
  task_creation_by_address: { calls: 20, windowSeconds: 60, by: 'address' },
  model: { calls: 10, windowSeconds: 60, by: 'principal' },
  report: { calls: 10, windowSeconds: 60, by: 'address' },
} as const satisfies Record<string, RateClass>;

/** `unlimited` is for probes and static pages. */
export type RateClassName = keyof typeof rateClasses | 'unlimited';
