/**
 * Failed attempts to prove who one is: by what was tried (a subject) and by where it was tried from (a network).
 *
 *  A. Every counter is raised by one statement that reads nothing first: of parallel failures none is lost.
 *  B. Whoever changes the failures of a subject holds its row in `login_subjects` first, so that the sum over its
 *     networks is one number for everybody.
 */
import { execute, type Queryable, query, queryOne } from './database.ts';

/** Why an attempt is not even looked at, with the whole seconds until it may be. Null: it may. */
export interface AttemptGate {
  bannedSeconds: number | null;
  limitedSeconds: number | null;
  lockedSeconds: number | null;
}

export interface AddressLimits {
  perMinute: number;
  perHour: number;
}

/** @param tried `subject` null when only the address counts */
export async function readAttemptGate(
  db: Queryable,
  tried: { subject: string | null; network: string },
  limits: AddressLimits,
): Promise<AttemptGate> {
  const row = await queryOne<{ banned: number | null; limited: number | null; locked: number | null }>(
    db,
    `select
       (select extract(epoch from expires_at - now()) from banned_addresses
        where network = :network and expires_at > now()) as banned,
       (select greatest(
          case when minute_failures >= cast(:per_minute as integer) and minute_started_at > now() - interval '1 minute'
               then extract(epoch from minute_started_at + interval '1 minute' - now()) end,
          case when hour_failures >= cast(:per_hour as integer) and hour_started_at > now() - interval '1 hour'
               then extract(epoch from hour_started_at + interval '1 hour' - now()) end)
        from address_failures where network = :network) as limited,
       (select extract(epoch from locked_until - now()) from login_subjects
        where subject = cast(:subject as text) and locked_until > now()) as locked`,
    {
      network: tried.network,
      subject: tried.subject,
      per_minute: limits.perMinute,
      per_hour: limits.perHour,
    },
  );
  return {
    bannedSeconds: wholeSeconds(row?.banned),
    limitedSeconds: wholeSeconds(row?.limited),
    lockedSeconds: wholeSeconds(row?.locked),
  };
}

const wholeSeconds = (seconds: number | null | undefined): number | null =>
  typeof seconds === 'number' ? Math.max(1, Math.ceil(seconds)) : null;

/** Invariant B, for whoever counts: the row is made where there is none. Tells whether the subject is locked now. */
export async function holdSubject(db: Queryable, subject: string): Promise<{ isLocked: boolean }> {
  const row = await queryOne<{ is_locked: boolean }>(
    db,
    `insert into login_subjects (subject) values (:subject)
     on conflict (subject) do update set updated_at = now()
     returning coalesce(locked_until > now(), false) as is_locked`,
    { subject },
  );
  return { isLocked: row?.is_locked ?? false };
}

/** Invariant B, for whoever clears: a subject that nobody ever failed for needs no row. */
export async function lockSubject(db: Queryable, subject: string): Promise<void> {
  await execute(db, 'select 1 from login_subjects where subject = :subject for update', { subject });
}

/** Failures before the window, and before the end of the last lock, count no more. Hold the subject first. */
export async function countFailure(
  db: Queryable,
  failure: { subject: string; network: string; windowMs: number },
): Promise<void> {
  await execute(
    db,
    `insert into login_failures (subject, network, failures, last_failed_at)
     values (:subject, :network, 1, now())
     on conflict (subject, network) do update set
       failures = case
         when login_failures.last_failed_at <= greatest(
                now() - cast(:window_ms as double precision) * interval '1 millisecond',
                (select locked_until from login_subjects s where s.subject = excluded.subject and locked_until <= now()))
         then 1 else login_failures.failures + 1 end,
       last_failed_at = now()`,
    { subject: failure.subject, network: failure.network, window_ms: failure.windowMs },
  );
}

export interface LockRules {
  /** Failures of one subject, from anywhere, that lock it. */
  afterFailures: number;
  /** Failures older than this count no more, milliseconds. */
  windowMs: number;
  /** The first lock; each further one lasts twice as long, milliseconds. */
  firstLockMs: number;
  maxLockMs: number;
  /** A lock so long after the end of the last one is a first one again, milliseconds. */
  memoryMs: number;
}

/** Lock the subject if its failures are enough; undefined when they are not, or when it is locked. Hold it first. */
export function lockIfDue(
  db: Queryable,
  subject: string,
  rules: LockRules,
): Promise<{ level: number; lockedUntil: Date } | undefined> {
  return queryOne(
    db,
    `update login_subjects s
     set lock_level = next.level,
         locked_until = now() + least(:max_lock_ms, :first_lock_ms * power(2, next.level - 1)) * interval '1 millisecond',
         updated_at = now()
     from (
       select subject, case
         when locked_until > now() - cast(:memory_ms as double precision) * interval '1 millisecond'
         then least(lock_level + 1, 30) else 1 end as level
       from login_subjects where subject = :subject) next
     where s.subject = next.subject
       and (s.locked_until is null or s.locked_until <= now())
       and (select sum(f.failures) from login_failures f
            where f.subject = s.subject
              and f.last_failed_at > greatest(
                    now() - cast(:window_ms as double precision) * interval '1 millisecond', s.locked_until))
           >= cast(:after_failures as bigint)
     returning s.lock_level as "level", s.locked_until as "lockedUntil"`,
    {
      subject,
      max_lock_ms: rules.maxLockMs,
      first_lock_ms: rules.firstLockMs,
      memory_ms: rules.memoryMs,
      window_ms: rules.windowMs,
      after_failures: rules.afterFailures,
    },
  );
}

/** Forget what failed for the subject from this network, and only from there. Hold the subject first. */
export async function clearFailures(db: Queryable, subject: string, network: string): Promise<void> {
  await execute(db, 'delete from login_failures where subject = :subject and network = :network', {
    subject,
    network,
  });
}

/** Forget everything about the subject: its failures from everywhere, its lock, how often it was locked. */
export async function forgetSubject(db: Queryable, subject: string): Promise<{ wasLocked: boolean }> {
  const row = await queryOne<{ was_locked: boolean }>(
    db,
    `delete from login_subjects where subject = :subject
     returning coalesce(locked_until > now(), false) as was_locked`,
    { subject },
  );
  return { wasLocked: row?.was_locked ?? false };
}

/** One more failure from this network. Returns those of the running minute and hour, this one included. */
export async function countAddressFailure(
  db: Queryable,
  network: string,
): Promise<{ inMinute: number; inHour: number }> {
  const row = await queryOne<{ inMinute: number; inHour: number }>(
    db,
    `insert into address_failures as a (network, minute_failures, minute_started_at, hour_failures, hour_started_at)
     values (:network, 1, now(), 1, now())
     on conflict (network) do update set
       minute_failures = case when a.minute_started_at <= now() - interval '1 minute' then 1
                              else a.minute_failures + 1 end,
       minute_started_at = case when a.minute_started_at <= now() - interval '1 minute' then now()
                                else a.minute_started_at end,
       hour_failures = case when a.hour_started_at <= now() - interval '1 hour' then 1
                            else a.hour_failures + 1 end,
       hour_started_at = case when a.hour_started_at <= now() - interval '1 hour' then now()
                              else a.hour_started_at end,
       updated_at = now()
     returning minute_failures as "inMinute", hour_failures as "inHour"`,
    { network },
  );
  return row ?? { inMinute: 1, inHour: 1 };
}

/**
 * One more attempt from this network that was refused unseen, so that not each of them needs an audit row: how many
 * there were in this minute, this one included, and how many above `maxRows` in the last minute that had any.
 */
export async function countRefusal(
  db: Queryable,
  network: string,
  maxRows: number,
): Promise<{ inMinute: number; leftOutBefore: number }> {
  const row = await queryOne<{ inMinute: number; leftOutBefore: number }>(
    db,
    `insert into address_failures as a (network, refusals, refusals_started_at) values (:network, 1, now())
     on conflict (network) do update set
       refusals_left_out = case when a.refusals_started_at <= now() - interval '1 minute'
                                then greatest(a.refusals - cast(:max_rows as integer), 0)
                                else a.refusals_left_out end,
       refusals = case when a.refusals_started_at <= now() - interval '1 minute' then 1 else a.refusals + 1 end,
       refusals_started_at = case when a.refusals_started_at <= now() - interval '1 minute' then now()
                                  else a.refusals_started_at end,
       updated_at = now()
     returning refusals as "inMinute", refusals_left_out as "leftOutBefore"`,
    { network, max_rows: maxRows },
  );
  return row ?? { inMinute: 1, leftOutBefore: 0 };
}

export async function forgetAddressFailures(db: Queryable, network: string): Promise<void> {
  await execute(db, 'delete from address_failures where network = :network', { network });
}

/** Delete counters that nobody touched since, and that lock nobody; returns how many. */
export async function deleteOldAttempts(db: Queryable, untouchedSince: Date, limit: number): Promise<number> {
  const bindings = { untouched_since: untouchedSince, limit };
  const subjects = await query(
    db,
    `delete from login_subjects where subject in (
       select subject from login_subjects
       where updated_at < :untouched_since and coalesce(locked_until, updated_at) < :untouched_since
       order by subject limit :limit for update skip locked)
     returning subject`,
    bindings,
  );
  const addresses = await query(
    db,
    `delete from address_failures where network in (
       select network from address_failures where updated_at < :untouched_since
       order by network limit :limit for update skip locked)
     returning network`,
    bindings,
  );
  return Math.max(subjects.length, addresses.length);
}
