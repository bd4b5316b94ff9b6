/**
 * The servers that DATABASE_URL and TEMPORAL_ADDRESS name: asked before anything is started, so that a wrong value is
 * answered by a sentence about that value and not by the program that could not work with it.
 *
 * A. What cannot be reached may be starting at this moment: it is asked again for a while. What refuses us is not.
 */
import { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { Connection, isGrpcServiceError } from '@temporalio/client';
import pg from 'pg';
import type { TemporalOptions } from '../temporal/options.ts';
import type { StackLog } from './log-port.ts';

const DEFAULT_PATIENCE_MS = 10_000;
const ASK_TIMEOUT_MS = 3_000;
const PAUSE_MS = 500;

export interface Asking {
  log: StackLog;
  signal?: AbortSignal;
  /** How long a server that cannot be reached is asked again, milliseconds; default 10 s. */
  patienceMs?: number;
}

/** Why a server cannot be used, as the rest of a sentence. */
interface Refusal {
  reason: string;
  /** False where it may help to ask again. */
  isFinal: boolean;
  fix: string;
}

/** @throws with the address and the fix when the database of DATABASE_URL cannot be used; the reason of `signal` */
export async function assertDatabase(asking: Asking, url: string): Promise<void> {
  assertPercentEncoded(url);
  const { host, username, pathname } = new URL(url);
  const what = decodeURIComponent(`${username === '' ? '' : `${username}@`}${host}${pathname}`);
  await askUntilAnswered(asking, { variable: 'DATABASE_URL', name: `PostgreSQL at ${what}` }, () =>
    askDatabase(url, asking.signal),
  );
}

function assertPercentEncoded(url: string): void {
  try {
    decodeURIComponent(url);
  } catch (cause) {
    const problem = 'DATABASE_URL holds a % that two hexadecimal digits do not follow';
    throw new Error(`${problem}.\nFix: write special characters as %XX, a percent sign as %25.`, { cause });
  }
}

/** @throws with the address and the fix when the server of TEMPORAL_ADDRESS cannot be used; the reason of `signal` */
export async function assertTemporal(asking: Asking, options: TemporalOptions): Promise<void> {
  const name = `Temporal at ${options.address}`;
  await askUntilAnswered(asking, { variable: 'TEMPORAL_ADDRESS', name }, () =>
    askTemporal(options, asking.signal),
  );
}

async function askUntilAnswered(
  { log, signal, patienceMs = DEFAULT_PATIENCE_MS }: Asking,
  { variable, name }: { variable: string; name: string },
  ask: () => Promise<Refusal | null>,
): Promise<void> {
  const deadline = Date.now() + patienceMs;
  for (let attempt = 1; ; attempt += 1) {
    signal?.throwIfAborted();
    const refusal = await ask();
    signal?.throwIfAborted();
    if (refusal === null) return;
    const { reason, isFinal, fix } = refusal;
    if (isFinal) throw new Error(`${variable}: ${name} ${reason}.\nFix: ${fix}.`);
    if (Date.now() >= deadline) {
      const tried = `asked ${attempt === 1 ? 'once' : `${attempt} times in ${Math.round(patienceMs / 1000)} s`}`;
      throw new Error(`${variable}: ${name} ${reason} (${tried}).\nFix: ${fix}.`);
    }
    if (attempt === 1) log.warn({ event: 'server_awaited', variable }, `${name} ${reason}: asking again`);
    await delay(PAUSE_MS, undefined, { signal });
  }
}

async function askDatabase(url: string, signal: AbortSignal | undefined): Promise<Refusal | null> {
  const socket = new Socket();
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: ASK_TIMEOUT_MS,
    stream: () => socket,
  });
  client.on('error', () => {}); // The server may end while we ask; `connect` has said so.
  const giveUp = (): void => void socket.destroy(new Error('given up'));
  signal?.addEventListener('abort', giveUp);
  try {
    await client.connect();
    return null;
  } catch (error) {
    return describeDatabaseFailure(error);
  } finally {
    signal?.removeEventListener('abort', giveUp);
    await client.end().catch(() => {});
    socket.destroy();
  }
}

/** By the codes of PostgreSQL (appendix A of its manual); whatever has none comes from the network. */
function describeDatabaseFailure(error: unknown): Refusal {
  const message = messageOf(error);
  const code = error instanceof pg.DatabaseError ? (error.code ?? '') : '';
  const without = 'or unset DATABASE_URL: then Steelthread starts a PostgreSQL of its own';
  if (code.startsWith('28')) {
    const fix = `correct the user and the password in DATABASE_URL (special characters as %XX), ${without}`;
    return { reason: `refused the user or the password (${message})`, isFinal: true, fix };
  }
  if (code === '3D000') {
    const fix = `create that database, or correct the name at the end of DATABASE_URL, ${without}`;
    return { reason: `has no such database (${message})`, isFinal: true, fix };
  }
  const fix = `start that server, or correct host and port in DATABASE_URL, ${without}`;
  if (code === '57P03') return { reason: `is not ready (${message})`, isFinal: false, fix };
  if (code !== '') return { reason: `refused the connection (${message})`, isFinal: true, fix };
  return { reason: `cannot be reached (${message})`, isFinal: false, fix };
}

const grpcCodes = { deadlineExceeded: 4, notFound: 5, permissionDenied: 7, unavailable: 14 } as const;

async function askTemporal(
  options: TemporalOptions,
  signal: AbortSignal | undefined,
): Promise<Refusal | null> {
  const { address, namespace, tls, apiKey } = options;
  const connection = Connection.lazy({
    address,
    tls,
    interceptors: [], // No retries inside: their last error would hide the first.
    ...(apiKey === undefined ? {} : { apiKey }),
  });
  const ask = () => connection.workflowService.describeNamespace({ namespace });
  try {
    await connection.withDeadline(Date.now() + ASK_TIMEOUT_MS, () =>
      // One of its own each time: the SDK never takes its listener away again.
      signal === undefined ? ask() : connection.withAbortSignal(AbortSignal.any([signal]), ask),
    );
    return null;
  } catch (error) {
    return describeTemporalFailure(error, namespace);
  } finally {
    await connection.close();
  }
}

function describeTemporalFailure(error: unknown, namespace: string): Refusal | null {
  const code = isGrpcServiceError(error) ? error.code : undefined;
  // It answered, and may still let us work in the namespace without letting us look at it.
  if (code === grpcCodes.permissionDenied) return null;
  const message = messageOf(error);
  const without = 'or unset TEMPORAL_ADDRESS: then Steelthread starts a Temporal of its own';
  if (code === grpcCodes.notFound) {
    const create = `temporal operator namespace create -n ${namespace}`;
    const fix = `make the namespace (${create}), or correct TEMPORAL_NAMESPACE`;
    return { reason: `has no namespace ${namespace}`, isFinal: true, fix };
  }
  const fix = `start that server, or correct TEMPORAL_ADDRESS (host:port of its gRPC port, usually 7233), ${without}`;
  if (code === grpcCodes.deadlineExceeded)
    return { reason: `does not answer (nothing within ${ASK_TIMEOUT_MS / 1000} s)`, isFinal: false, fix };
  if (code === grpcCodes.unavailable || code === undefined)
    return { reason: `cannot be reached (${message})`, isFinal: false, fix };
  const secured = 'check TEMPORAL_ADDRESS, TEMPORAL_TLS* and TEMPORAL_API_KEY';
  return { reason: `refused the question (${message})`, isFinal: true, fix: `${secured}, ${without}` };
}

/** One line. Of a host with several addresses Node says nothing itself, only each of the attempts does. */
function messageOf(error: unknown): string {
  const inner: unknown = error instanceof AggregateError ? error.errors[0] : error;
  const text = isGrpcServiceError(inner)
    ? inner.details
    : inner instanceof Error
      ? inner.message
      : String(inner);
  // gRPC wraps what the network said: keep that.
  const cause = /Last error: (?:Error: )?(.*?)\.? *(?:Resolution note:.*)?$/s.exec(text)?.[1] ?? text;
  return cause.split('\n')[0] ?? '';
}
