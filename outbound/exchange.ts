/**
 * One HTTP exchange with addresses that were checked.
 *
 *  A. The socket goes to a checked address: the host name is not resolved again, so a resolver that changes its mind
 *     is not asked. Host and SNI keep the name of the URL, and the certificate must be for it.
 *  B. A connection of its own, no pool, no proxy from the environment, no redirect.
 *  C. It ends: one deadline for everything, headers and body are bounded.
 */
import { type ClientRequest, type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIPv6, type LookupFunction } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Target } from './guard.ts';
import { refusal } from './guard.ts';
import {
  type FailureCode,
  OUTBOUND_MAX_RESPONSE_BYTES,
  type OutboundAnswer,
  type OutboundRequest,
} from './port.ts';

/** Most bytes of an answer's headers. */
const MAX_HEADER_BYTES = 16 * 1024;
/** Headers that are ours: they say where the message ends and whom it is for. */
const OWN_HEADERS: ReadonlySet<string> = new Set([
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'upgrade',
  'expect',
  'te',
  'trailer',
]);

export interface ExchangeOptions {
  /** Certificates to trust besides the usual ones, PEM. */
  tlsCa?: string;
  /** `performance.now()` at the start of it all. */
  startedAtMs: number;
  /** Aborted with one of `timeout` and `aborted` as its reason. */
  stop: AbortSignal;
}

export function exchange(
  target: Target,
  addresses: readonly string[],
  request: OutboundRequest,
  { tlsCa, startedAtMs, stop }: ExchangeOptions,
): Promise<OutboundAnswer> {
  return new Promise((resolve) => {
    let mayHaveArrived = false;
    let sending: ClientRequest | undefined;
    let isOver = false;

    function end(answer: OutboundAnswer): void {
      if (isOver) return;
      isOver = true;
      stop.removeEventListener('abort', onStop);
      resolve(answer);
      sending?.destroy();
    }

    const durationMs = () => Math.round(performance.now() - startedAtMs);
    const fail = (code: FailureCode, message: string) =>
      end({ kind: 'failed', code, message, mayHaveArrived, durationMs: durationMs() });
    const onStop = () => fail(stop.reason as 'timeout' | 'aborted', stopMessages[stop.reason as 'timeout']);

    function onResponse(response: IncomingMessage): void {
      const maxBytes = request.maxResponseBytes ?? OUTBOUND_MAX_RESPONSE_BYTES;
      const chunks: Buffer[] = [];
      let bytes = 0;
      const finish = (isCut: boolean) =>
        end({
          kind: 'answered',
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).subarray(0, maxBytes),
          isCut,
          durationMs: durationMs(),
        });
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        bytes += chunk.length;
        if (bytes > maxBytes) finish(true);
      });
      response.on('end', () => finish(false));
      response.on('error', (error) => fail(...readFailure(error, mayHaveArrived)));
      response.on('close', () => fail('connection_lost', 'the answer ended too early'));
    }

    stop.addEventListener('abort', onStop);
    if (stop.aborted) return onStop();
    try {
      const isTls = target.url.protocol === 'https:';
      sending = (isTls ? requestHttps : requestHttp)({
        hostname: target.hostname,
        port: target.port,
        path: `${target.url.pathname}${target.url.search}`,
        method: request.method,
        headers: {
          ...withoutOwn(request.headers ?? {}),
          host: target.url.host,
          ...(request.body !== undefined && { 'content-length': Buffer.byteLength(request.body) }),
        },
        lookup: pinned(addresses), // A
        agent: false, // B
        maxHeaderSize: MAX_HEADER_BYTES,
        ...(isTls && tlsCa !== undefined && { ca: tlsCa }),
      });
      sending.on('socket', (socket) => {
        socket.once(isTls ? 'secureConnect' : 'connect', () => {
          mayHaveArrived = true;
        });
      });
      sending.on('response', onResponse);
      sending.on('upgrade', (_response, socket) => {
        socket.destroy();
        fail('response_invalid', 'the other side switched the protocol');
      });
      sending.on('error', (error) => {
        const isHandshake = isTls && sending !== undefined && isTlsRefused(sending, mayHaveArrived);
        fail(...readFailure(error, mayHaveArrived, isHandshake));
      });
      sending.on('close', () => fail('connection_lost', 'the connection ended without an answer'));
      sending.end(request.body);
    } catch {
      // Node refuses bytes that are not allowed in a header, a path or a method.
      end(refusal('request_invalid', 'the request holds characters that HTTP does not allow'));
    }
  });
}

const stopMessages = { timeout: 'no complete answer in time', aborted: 'given up' } as const;

/** Answers every question with what was checked, whatever name is asked for. */
function pinned(addresses: readonly string[]): LookupFunction {
  const all = addresses.map((address) => ({ address, family: isIPv6(address) ? 6 : 4 }));
  return (_hostname, options, callback) => {
    const [first] = all;
    if (options.all === true) callback(null, all);
    else callback(null, first?.address ?? '', first?.family);
  };
}

const withoutOwn = (headers: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !OWN_HEADERS.has(name.toLowerCase())));

/** TCP stood, TLS did not. */
function isTlsRefused({ socket }: ClientRequest, isSecure: boolean): boolean {
  return !isSecure && socket !== null && (socket as TLSSocket).remoteAddress !== undefined;
}

function readFailure(error: Error, mayHaveArrived: boolean, isHandshake = false): [FailureCode, string] {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (/^(?:ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|EPROTO)/.test(code) || isHandshake)
    return ['tls_failed', `no secure connection${code && ` (${code})`}`];
  if (code.startsWith('HPE_')) return ['response_invalid', `the answer is not HTTP (${code})`];
  if (mayHaveArrived) return ['connection_lost', `the connection was lost${code && ` (${code})`}`];
  return ['connect_failed', `no connection${code && ` (${code})`}`];
}
