/**
 * What in the last day of the audit trail somebody should look at. Plain rules over counts, no model: what is said can be
 * checked row by row, and rows hold names and reasons that others chose.
 */
import { type AuditCount, type AuditDigest, readAuditDigest } from '../../db/audit-digest.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';

/** How far back it looks unless told otherwise, hours. */
export const ANALYSIS_HOURS = 24;
/** Names and addresses told of each kind. */
const MAX_TOLD = 5;
/** Failed logins from one address in the time looked at, from which on it is worth a line of its own. */
const MANY_FAILURES = 10;
/** Refusals of one principal, likewise. */
const MANY_DENIALS = 10;
/** Hours of the day, UTC, in which people are not expected: from, and before. */
const ODD_HOURS = { from: 22, before: 5 } as const;

export interface AuditAnalysis {
  /** Sentences for people, one finding a line, the gravest first. */
  analysis: string;
  findings: AuditFinding[];
  from: Date;
  to: Date;
  events: number;
}

export interface AuditFinding {
  severity: 'alert' | 'notice';
  text: string;
}

/**
 * @param span the hours before a time; before now unless one is given
 * @throws forbidden
 */
export async function analyzeAudit(
  deps: DomainDeps,
  actor: Actor,
  { hours = ANALYSIS_HOURS, before }: { hours?: number; before?: Date } = {},
): Promise<AuditAnalysis> {
  assertCan(actor.principal, 'list', 'audit');
  const to = before ?? new Date();
  const from = new Date(to.getTime() - hours * 3_600_000);
  const digest = await readAuditDigest(deps.db, { from, to: before ?? null, oddHours: ODD_HOURS });
  const findings = findingsOf(digest);
  const head = `${digest.total} audit events in the last ${hours} hours: ${outcomesOf(digest)}.`;
  const lines = findings.map(({ severity, text }) => `${severity === 'alert' ? 'Alert' : 'Notice'}: ${text}`);
  const rest = findings.length === 0 ? ['Nothing in them calls for attention.'] : lines;
  return { analysis: [head, ...rest].join('\n'), findings, from, to, events: digest.total };
}

function findingsOf(digest: AuditDigest): AuditFinding[] {
  const failed = (reason: string): number =>
    sum(digest.failures.filter(({ name }) => name === reason).map(({ count }) => count));
  const acts = (...actions: string[]): number =>
    sum(digest.actions.filter(({ name }) => actions.includes(name)).map(({ count }) => count));

  const loud = digest.failedAddresses.filter(({ count }) => count >= MANY_FAILURES);
  const curious = digest.deniedPrincipals.filter(({ count }) => count >= MANY_DENIALS);
  const logins = sum(digest.failures.map(({ count }) => count));
  const candidates: [AuditFinding['severity'], number, (count: number) => string][] = [
    [
      'alert',
      acts('auth.refresh_reuse'),
      (n) => `${n} refresh tokens were used again: a token may be stolen`,
    ],
    ['alert', acts('address.banned'), (n) => `${n} addresses were banned`],
    ['alert', failed('account_locked'), (n) => `${n} logins met a locked account`],
    ['alert', loud.length, () => `many failed logins from ${told(loud)}`],
    ['alert', curious.length, () => `many refusals of ${told(curious)}`],
    ['notice', logins, (n) => `${n} failed logins (${told(digest.failures)})`],
    ['notice', acts('credential.refused'), (n) => `${n} requests with no credential or a bad one`],
    ['notice', acts('socket.refused'), (n) => `${n} sockets were refused`],
    ['notice', acts('rate.refused'), (n) => `${n} requests were above their rate`],
    [
      'notice',
      digest.oddHourLogins.length,
      () =>
        `logins between ${ODD_HOURS.from}:00 and ${ODD_HOURS.before}:00 UTC by ${told(digest.oddHourLogins)}`,
    ],
    [
      'notice',
      digest.privileged.length,
      () => `changes to accounts, keys and settings: ${told(digest.privileged)}`,
    ],
  ];
  return candidates
    .filter(([, count]) => count > 0)
    .map(([severity, count, say]) => ({ severity, text: `${say(count)}.` }));
}

const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);

/** `a (3), b (2) and 4 others` */
function told(counts: readonly AuditCount[]): string {
  const named = counts.slice(0, MAX_TOLD).map(({ name, count }) => `${name} (${count})`);
  const others = counts.length - named.length;
  return others > 0 ? `${named.join(', ')} and ${others} others` : named.join(', ');
}

function outcomesOf({ outcomes }: AuditDigest): string {
  const parts = outcomes.map(({ name, count }) => `${count} ${name}`);
  return parts.length === 0 ? 'none' : parts.join(', ');
}
