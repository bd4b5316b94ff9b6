/** The audit trail of a time span in numbers. */
import { type Queryable, queryOne } from './database.ts';

export interface AuditCount {
  name: string;
  count: number;
}

/** Each list by count, highest first, at most MAX_NAMES long. */
export interface AuditDigest {
  total: number;
  outcomes: AuditCount[];
  actions: AuditCount[];
  /** Reasons of failed logins. */
  failures: AuditCount[];
  /** Addresses that logins failed from. */
  failedAddresses: AuditCount[];
  /** Known principals that were refused something. */
  deniedPrincipals: AuditCount[];
  /** Who logged in at odd hours. */
  oddHourLogins: AuditCount[];
  /** Acts on accounts, keys, settings and the trail itself. */
  privileged: AuditCount[];
}

const MAX_NAMES = 50;

/** @param span `to` is null for all there is; `oddHours` are hours of the day, UTC: from the first on, and before the second on the next day */
export async function readAuditDigest(
  db: Queryable,
  span: { from: Date; to: Date | null; oddHours: { from: number; before: number } },
): Promise<AuditDigest> {
  const counts = (name: string, condition: string) =>
    `(select coalesce(jsonb_agg(jsonb_build_object('name', name, 'count', count) order by count desc, name), '[]')
      from (select ${name} as name, count(*) as count from span where ${condition}
            group by 1 order by 2 desc, 1 limit ${MAX_NAMES}) counted)`;
  // Being asked for the second factor is a step of a good login.
  const failedLogin =
    "action = 'auth.login' and outcome <> 'success' and reason is distinct from 'mfa_required'";
  const refused =
    "outcome = 'denied' and principal_kind <> 'anonymous' and reason is distinct from 'mfa_required'";
  const row = await queryOne<AuditDigest>(
    db,
    `with span as materialized (
       select at, principal_kind, principal_name, address, action, outcome, details ->> 'reason' as reason
       from audit_events where at >= :from and (cast(:to as timestamptz) is null or at < :to))
     select (select count(*) from span) as total,
            ${counts('outcome', 'true')} as outcomes,
            ${counts('action', 'true')} as actions,
            ${counts("coalesce(reason, 'unknown')", failedLogin)} as failures,
            ${counts("coalesce(address, 'unknown')", failedLogin)}
              as "failedAddresses",
            ${counts('principal_name', refused)} as "deniedPrincipals",
            ${counts(
              'principal_name',
              `action = 'auth.login' and outcome = 'success' and (
                 extract(hour from at at time zone 'utc') >= cast(:oddFrom as integer)
                 or extract(hour from at at time zone 'utc') < cast(:oddBefore as integer))`,
            )} as "oddHourLogins",
            ${counts(
              'action',
              `outcome = 'success' and split_part(action, '.', 1) in ('user', 'setting', 'agent_token', 'api_token', 'mfa',
                 'enrolment', 'audit', 'account', 'address') and action not in ('account.locked', 'address.banned')`,
            )} as privileged`,
    { from: span.from, to: span.to, oddFrom: span.oddHours.from, oddBefore: span.oddHours.before },
  );
  if (row === undefined) throw new Error('a select without conditions returned no row');
  return row;
}
