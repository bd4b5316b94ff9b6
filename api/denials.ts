/**
 * Every refusal leaves a `denied` row in the audit trail: a right that is lacking, a credential that is missing or no
 * good, a rate that is used up, a socket that was not opened. Nobody can flood the trail with them:
 *
 *  A. A principal (a network, for strangers) leaves at most MAX_DENIAL_ROWS rows of a kind in a window. What comes above
 *     is counted, and the next row of the same source says how many were left out.
 *  B. Strangers of all networks together leave at most MAX_STRANGER_ROWS rows in a window; what comes above is counted
 *     in the same way, and said by the next row of any stranger.
 *
 * What logins (and their rates), enrolments and decisions refuse is written by those functions themselves, with what they know of it.
 */
import { errorTable, isProblem } from '../contracts/errors.ts';
import type { Principal } from '../contracts/principal.ts';
import type { RouteContract } from '../contracts/route.ts';
import { type Refused, recordRefusal } from '../domain/audit/denials.ts';
import type { DomainDeps } from '../domain/deps.ts';
import { networkOf } from '../domain/identity/network.ts';
import type { AuditFacts } from '../domain/transact.ts';
import { createAdmission } from './admission.ts';
import type { RefusedUpgrade } from './upgrade.ts';

/** Rows of one kind that one source can leave in one window. */
export const MAX_DENIAL_ROWS = 20;
/** Rows that all strangers together can leave in one window. */
export const MAX_STRANGER_ROWS = 300;
export const DENIAL_WINDOW_MS = 60_000;

/** A request to a known route that was refused for who asked, from where, or how often. */
export interface Denial {
  /** Null for a stranger. */
  principal: Principal | null;
  address: string;
  requestId: string;
  contract: RouteContract;
  /** Code of the error table that was answered. */
  code: string;
}

/** Kinds of refusals by the code that was answered; other codes are none, or are written by the domain. */
const kindsByCode: Readonly<Record<string, Pick<AuditFacts, 'action'>>> = {
  forbidden: { action: 'access.denied' },
  password_change_required: { action: 'access.denied' },
  unauthorized: { action: 'credential.refused' },
  invalid_token: { action: 'credential.refused' },
  invalid_refresh_token: { action: 'credential.refused' },
  rate_limited: { action: 'rate.refused' },
};

/** The code to report a refusal with; undefined for an error that is no refusal of this kind. */
export const denialCodeOf = (error: unknown): string | undefined =>
  isProblem(error) && error.code in kindsByCode ? error.code : undefined;

export interface DenialRecorder {
  /** What `onDenied` of the routes is. Never rejects: the request is refused with or without its row. */
  onDenied(denial: Denial): Promise<void>;
  /** What `onRefused` of the upgrades is. */
  onSocketRefused(refused: RefusedUpgrade): void;
}

export interface DenialRecorderOptions {
  /** Milliseconds; replaced in tests. */
  now?: () => number;
}

export function createDenialRecorder(
  deps: Pick<DomainDeps, 'db' | 'log'>,
  { now = Date.now }: DenialRecorderOptions = {},
): DenialRecorder {
  const sources = createAdmission({ most: MAX_DENIAL_ROWS, windowMs: DENIAL_WINDOW_MS, now });
  const strangers = createAdmission({ most: MAX_STRANGER_ROWS, windowMs: DENIAL_WINDOW_MS, now });

  const record = async (refused: Refused, facts: AuditFacts): Promise<void> => {
    const { principal, address, requestId } = refused;
    const source =
      principal === null ? `address:${networkOf(address ?? '')}` : `${principal.kind}:${principal.id}`;
    const leftOutBefore = sources.admit(`${facts.action} ${source}`); // A
    if (leftOutBefore === null) return;
    const leftOutOfAll = principal === null ? strangers.admit('all') : 0; // B
    if (leftOutOfAll === null) return;
    const details = {
      ...facts.details,
      ...(leftOutBefore > 0 && { leftOutBefore }),
      ...(leftOutOfAll > 0 && { leftOutOfAll }),
    };
    try {
      await recordRefusal(deps, refused, { ...facts, details });
    } catch (err) {
      deps.log.error({ event: 'denial_not_recorded', requestId, principalId: principal?.id ?? null, err });
    }
  };

  return {
    async onDenied({ contract: { method, path, verb, resource }, code, ...refused }) {
      const kind = kindsByCode[code];
      if (kind === undefined) return;
      const isRight = kind.action === 'access.denied' && verb !== undefined;
      const details = isRight ? { verb, resource, ...(code !== 'forbidden' && { code }) } : { code };
      await record(refused, { ...kind, targetKind: 'route', targetId: `${method} ${path}`, details });
    },
    onSocketRefused({ path, address, requestId, code, reason }) {
      if (!isSocketDenial(code)) return;
      // The query is the caller's, and may hold a secret that nobody knows to be one.
      const targetId = path.split('?', 1)[0] ?? path;
      const details = { code, ...(reason !== '' && { reason }) };
      const facts = { action: 'socket.refused', targetKind: 'socket', targetId, details };
      void record({ principal: null, address, requestId }, facts);
    },
  };
}

/** A route that is not there, or a handshake that is none, is no refusal of anybody. */
function isSocketDenial(code: string): boolean {
  const row = Object.entries(errorTable).find(([name]) => name === code)?.[1];
  return row === undefined || [401, 403, 429].includes(row.status);
}
