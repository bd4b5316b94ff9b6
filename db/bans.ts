/** Addresses from which nobody may log in, refresh or register for a while. */
import { type Queryable, query, queryOne } from './database.ts';

export interface BanRow {
  network: string;
  /** Failed attempts of the hour that led to it. */
  failures: number;
  bannedAt: Date;
  expiresAt: Date;
}

const columns = 'network, failures, banned_at as "bannedAt", expires_at as "expiresAt"';

/** Undefined when the network is banned already. */
export function insertBan(
  db: Queryable,
  ban: { network: string; failures: number; banMs: number },
): Promise<BanRow | undefined> {
  return queryOne<BanRow>(
    db,
    `insert into banned_addresses (network, failures, expires_at)
     values (:network, :failures, now() + cast(:ban_ms as double precision) * interval '1 millisecond')
     on conflict (network) do update set
       failures = excluded.failures, banned_at = excluded.banned_at, expires_at = excluded.expires_at
       where banned_addresses.expires_at <= now()
     returning ${columns}`,
    { network: ban.network, failures: ban.failures, ban_ms: ban.banMs },
  );
}

/** Whole seconds until the ban of this network ends; null when it is not banned. */
export async function findBan(db: Queryable, network: string): Promise<number | null> {
  const row = await queryOne<{ seconds: number }>(
    db,
    `select ceil(extract(epoch from expires_at - now())) as seconds from banned_addresses
     where network = :network and expires_at > now()`,
    { network },
  );
  return row?.seconds ?? null;
}

/** Bans that hold, newest first. */
export function listBans(
  db: Queryable,
  page: { after: { at: Date; id: string } | undefined; limit: number },
): Promise<BanRow[]> {
  const older = page.after === undefined ? '' : 'and (banned_at, network) < (:at, :id)';
  return query<BanRow>(
    db,
    `select ${columns} from banned_addresses where expires_at > now() ${older}
     order by banned_at desc, network desc limit :limit`,
    { limit: page.limit, ...page.after },
  );
}

/** Undefined when the network is not banned. */
export function deleteBan(db: Queryable, network: string): Promise<BanRow | undefined> {
  return queryOne<BanRow>(
    db,
    `delete from banned_addresses where network = :network and expires_at > now() returning ${columns}`,
    { network },
  );
}

/** Delete bans that ended before this time; returns how many. */
export async function deleteOldBans(db: Queryable, endedBefore: Date, limit: number): Promise<number> {
  const rows = await query(
    db,
    `delete from banned_addresses where network in (
       select network from banned_addresses where expires_at < :ended_before limit :limit)
     returning network`,
    { ended_before: endedBefore, limit },
  );
  return rows.length;
}
