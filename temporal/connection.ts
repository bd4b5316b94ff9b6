/**
 * The client connection to Temporal, for processes that must start and go on without it.
 *
 *  A. Nothing waits for Temporal: calls go out on a lazy connection, each with a deadline.
 *  B. `ready()` is a recent answer, not a promise: a probe asks often while Temporal is away and seldom while it is
 *     there, and a failed call turns it off at once, so that requests do not all pay the deadline.
 *  C. Between calls no async context is kept: from its first use on it slows every promise of the process.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { failureKind } from './failures.ts';
import type { TemporalOptions } from './options.ts';

/** Time between probes, milliseconds. */
const PROBE_AWAY_MS = 500;
const PROBE_READY_MS = 10_000;
/** Longest a probe may take, milliseconds. */
const PROBE_DEADLINE_MS = 2_000;
/** gRPC's own wait between attempts to connect, milliseconds; its default grows to two minutes. */
const MIN_RECONNECT_MS = 100;
const MAX_RECONNECT_MS = 2_000;

interface Log {
  info(fields: { event: string; [field: string]: unknown }): void;
  warn(fields: { event: string; [field: string]: unknown }): void;
}

export interface TemporalClient {
  /** The SDK's client. Calls without a deadline may wait for ever: prefer `call`. */
  client(): Client;
  /** Was Temporal there when it was last asked? */
  ready(): boolean;
  /** Make calls that must be over after `deadlineMs` milliseconds. */
  call<T>(deadlineMs: number, run: (client: Client) => Promise<T>): Promise<T>;
  /** Ask Temporal something small. @returns how long it took, milliseconds. @throws when it is away */
  check(): Promise<number>;
  /** Id of the namespace; another server (or a wiped one) has another id for the same name. Asked once. */
  namespaceId(): Promise<string>;
  /** Idempotent. */
  close(): Promise<void>;
}

export function createTemporalClient(options: TemporalOptions & { log: Log }): TemporalClient {
  const { address, namespace, tls, apiKey, log } = options;
  const connection = Connection.lazy({
    address,
    tls,
    // No retries inside the SDK: the outbox retries by itself, and a retry timer that outlives `close` throws past us.
    interceptors: [],
    ...(apiKey === undefined ? {} : { apiKey }),
    channelArgs: {
      'grpc.initial_reconnect_backoff_ms': MIN_RECONNECT_MS,
      'grpc.min_reconnect_backoff_ms': MIN_RECONNECT_MS,
      'grpc.max_reconnect_backoff_ms': MAX_RECONNECT_MS,
    },
  });
  const client = new Client({ connection, namespace });
  const closing = new AbortController();
  let isReady = false;
  /** Under way, by `call`. */
  let calls = 0;
  let knownNamespaceId: string | undefined;

  function setReady(ready: boolean, error?: unknown): void {
    if (ready === isReady) return;
    isReady = ready;
    if (ready) {
      knownNamespaceId = undefined; // it may be another server now
      log.info({ event: 'temporal_ready', address, namespace });
    } else log.warn({ event: 'temporal_away', address, namespace, err: error });
  }

  async function call<T>(deadlineMs: number, run: (client: Client) => Promise<T>): Promise<T> {
    calls += 1;
    try {
      return await connection.withDeadline(Date.now() + deadlineMs, () => run(client));
    } catch (error) {
      if (!closing.signal.aborted && failureKind(error) === 'away') setReady(false, error); // B
      throw error;
    } finally {
      calls -= 1;
      // C. The SDK hands the deadline on in it, and nothing of ours uses it but by `call`.
      if (calls === 0) connection.callContextStorage.disable();
    }
  }

  async function describeNamespace(): Promise<string> {
    const { namespaceInfo } = await call(PROBE_DEADLINE_MS, () =>
      connection.workflowService.describeNamespace({ namespace }),
    );
    return namespaceInfo?.id ?? '';
  }

  async function check(): Promise<number> {
    const startedAt = performance.now();
    await call(PROBE_DEADLINE_MS, () => connection.workflowService.getSystemInfo({}));
    if (!closing.signal.aborted) setReady(true);
    return performance.now() - startedAt;
  }

  async function probe(): Promise<void> {
    while (!closing.signal.aborted) {
      await check().catch(() => undefined); // `call` has noted it
      const pauseMs = isReady ? PROBE_READY_MS : PROBE_AWAY_MS;
      await pause(pauseMs);
    }
  }

  /** Ends early when the connection closes or turns away: then the short interval applies. */
  async function pause(pauseMs: number): Promise<void> {
    const untilMs = Date.now() + pauseMs;
    const wasReady = isReady;
    while (Date.now() < untilMs && isReady === wasReady && !closing.signal.aborted) {
      const leftMs = Math.min(PROBE_AWAY_MS, untilMs - Date.now());
      await delay(leftMs, undefined, { signal: closing.signal, ref: false }).catch(() => undefined);
    }
  }

  const probing = probe();
  let closed: Promise<void> | undefined;
  return {
    client: () => client,
    ready: () => isReady,
    call,
    check,
    async namespaceId() {
      knownNamespaceId ??= await describeNamespace();
      return knownNamespaceId;
    },
    close() {
      closed ??= (async () => {
        closing.abort();
        isReady = false;
        await connection.close();
        await probing;
      })();
      return closed;
    },
  };
}
