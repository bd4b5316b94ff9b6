/** What the rest of the system sees of outbound requests: shapes only. Made by `createOutbound` (outbound.ts). */

/** Longest exchange when the caller names none: resolving, connecting, sending and reading together. Milliseconds. */
export const OUTBOUND_TIMEOUT_MS = 15_000;
/** Most of an answer's body that is read when the caller names no limit, bytes. */
export const OUTBOUND_MAX_RESPONSE_BYTES = 64 * 1024;

export interface OutboundRequest {
  /** http or https, without credentials. */
  url: string;
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Besides Host, Content-Length and Connection, which are ours. */
  headers?: Readonly<Record<string, string>>;
  body?: string | Buffer;
  /** Of the whole exchange; default OUTBOUND_TIMEOUT_MS. */
  timeoutMs?: number;
  /** Reading stops there (`isCut`); default OUTBOUND_MAX_RESPONSE_BYTES. */
  maxResponseBytes?: number;
  /** Gives up: `failed` with `aborted`. */
  signal?: AbortSignal;
}

/** Why the guard did not let a request out. */
export const refusalCodes = [
  /** Not an http(s) URL that can be read. */
  'url_invalid',
  /** A user name or password stands in the URL. */
  'url_credentials',
  /** A port below 1024 other than 80 and 443, on a target that is not listed. */
  'port_not_allowed',
  /** An address, or one of those the host name has, may not be dialed. */
  'address_not_allowed',
  /** The method, a header or a size is impossible. */
  'request_invalid',
] as const;
export type RefusalCode = (typeof refusalCodes)[number];

/** Why a request that was let out has no answer. */
export const failureCodes = [
  'dns_failed',
  'connect_failed',
  'tls_failed',
  'connection_lost',
  'response_invalid',
  'timeout',
  'aborted',
] as const;
export type FailureCode = (typeof failureCodes)[number];

/** Nothing was sent; `message` is one sentence for people and names no address. */
export interface OutboundRefusal {
  kind: 'refused';
  code: RefusalCode;
  message: string;
}

export interface OutboundFailure {
  kind: 'failed';
  code: FailureCode;
  message: string;
  /** A connection stood: the other side may have got the request and acted on it. False: it certainly has not. */
  mayHaveArrived: boolean;
  durationMs: number;
}

/** Any status, redirects included: nothing is followed. */
export interface OutboundResponse {
  kind: 'answered';
  status: number;
  headers: Readonly<Record<string, string | string[] | undefined>>;
  body: Buffer;
  /** The body was longer than `maxResponseBytes`. */
  isCut: boolean;
  durationMs: number;
}

export type OutboundAnswer = OutboundResponse | OutboundFailure | OutboundRefusal;

/** Never throws, never follows a redirect, dials only addresses that were checked. */
export interface Outbound {
  /** What can be said of a URL without resolving its host name; undefined: nothing against it so far. */
  inspect(url: string): OutboundRefusal | undefined;
  request(request: OutboundRequest): Promise<OutboundAnswer>;
}
