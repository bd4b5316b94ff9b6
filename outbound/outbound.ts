/**
 * HTTP requests to URLs that other people named: webhooks, callbacks, agents addressed by URL.
 *
 *  A. The host name is resolved once. What was checked is what is dialed.
 *  B. Nothing is followed: a redirect is an answer like any other.
 *  C. Nothing is thrown: every ending is a value (outbound/port.ts).
 */
import { parseAllowList } from './allow-list.ts';
import { exchange } from './exchange.ts';
import { checkAddresses, type Guard, readTarget, refusal } from './guard.ts';
import {
  OUTBOUND_TIMEOUT_MS,
  type Outbound,
  type OutboundAnswer,
  type OutboundFailure,
  type OutboundRequest,
} from './port.ts';
import { createResolver, MAX_ADDRESSES, type Resolve } from './resolver.ts';

export interface OutboundOptions {
  /** Host names, addresses and networks that may be asked although they are not public. */
  allow: readonly string[];
  /** May public addresses be asked without being listed? Webhooks: yes. Agents addressed by URL: no. */
  allowsPublic: boolean;
  /** Name of the variable that holds `allow`, for messages. */
  listName: string;
  /** Certificates to trust besides the usual ones, PEM. */
  tlsCa?: string;
  /** Default: the system's resolver. */
  resolve?: Resolve;
}

/** @throws Error when an entry of `allow` is neither a host name nor a network */
export function createOutbound(options: OutboundOptions): Outbound {
  const { allowsPublic, listName, tlsCa, resolve = createResolver() } = options;
  const guard: Guard = { allow: readList(options), allowsPublic, listName };

  async function request(wanted: OutboundRequest): Promise<OutboundAnswer> {
    const target = readTarget(guard, wanted.url);
    if ('kind' in target) return target;
    const startedAtMs = performance.now();
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort('timeout'), wanted.timeoutMs ?? OUTBOUND_TIMEOUT_MS);
    const onAbort = () => stop.abort('aborted');
    wanted.signal?.addEventListener('abort', onAbort);
    if (wanted.signal?.aborted) onAbort();
    try {
      const addresses = target.isAddress
        ? [target.hostname]
        : await resolveOnce(resolve, target.hostname, stop.signal);
      if (typeof addresses === 'string') return notSent(addresses, startedAtMs);
      const refused = checkAddresses(guard, target, addresses);
      if (refused !== undefined) return refused;
      return await exchange(target, addresses, wanted, {
        startedAtMs,
        stop: stop.signal,
        ...(tlsCa !== undefined && { tlsCa }),
      });
    } finally {
      clearTimeout(timer);
      wanted.signal?.removeEventListener('abort', onAbort);
    }
  }

  return {
    inspect(url) {
      const target = readTarget(guard, url);
      return 'kind' in target ? target : undefined;
    },
    request: (wanted) =>
      request(wanted).catch(() => refusal('request_invalid', 'the request could not be made')), // C
  };
}

function readList({ allow, listName }: OutboundOptions): Guard['allow'] {
  try {
    return parseAllowList(allow);
  } catch (cause) {
    throw new Error(`${listName}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** The addresses, or why there are none. */
async function resolveOnce(
  resolve: Resolve,
  hostname: string,
  stop: AbortSignal,
): Promise<readonly string[] | OutboundFailure['code']> {
  let onStop = (): void => undefined;
  const stopped = new Promise<'timeout' | 'aborted'>((answer) => {
    onStop = () => answer(stop.reason as 'timeout' | 'aborted');
  });
  stop.addEventListener('abort', onStop);
  if (stop.aborted) onStop();
  const found = resolve(hostname).then(
    (addresses) => (addresses.length === 0 ? 'dns_failed' : addresses.slice(0, MAX_ADDRESSES)),
    () => 'dns_failed' as const,
  );
  const first = await Promise.race([found, stopped]);
  stop.removeEventListener('abort', onStop);
  return first;
}

const messages: Partial<Record<OutboundFailure['code'], string>> = {
  dns_failed: 'the host name has no address',
  timeout: 'no complete answer in time',
  aborted: 'given up',
};

const notSent = (code: OutboundFailure['code'], startedAtMs: number): OutboundFailure => ({
  kind: 'failed',
  code,
  message: messages[code] ?? code,
  mayHaveArrived: false,
  durationMs: Math.round(performance.now() - startedAtMs),
});
