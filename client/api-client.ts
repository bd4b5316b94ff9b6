/**
 * A typed client of the HTTP API: what to send and what comes back follow from the route contracts, so there is
 * nothing to generate and nothing to keep in step.
 */
import { z } from 'zod';
import { type ReplySpec, type RouteContract, replySpec } from '../contracts/route.ts';
import { readServerEvents } from './server-events.ts';

/** Longest a call may take unless it says otherwise, milliseconds. */
export const DEFAULT_CALL_TIMEOUT_MS = 30_000;

/** First of a stream that can be resumed; it tells where it begins and is no event of its own. */
const READY_EVENT = 'ready';

type Given<Key extends string, Schema> = Schema extends z.ZodType
  ? Partial<z.input<Schema>> extends z.input<Schema>
    ? { [K in Key]?: z.input<Schema> }
    : { [K in Key]: z.input<Schema> }
  : { [K in Key]?: undefined };

/** What a route takes: its parameters, its query and its body, each as the contract's schema reads them. */
export type ClientRequest<Contract extends RouteContract> = Given<'params', Contract['params']> &
  Given<'query', Contract['query']> &
  Given<'body', Contract['body']> & {
    idempotencyKey?: string;
    lastEventId?: string;
    /** Default `DEFAULT_CALL_TIMEOUT_MS`; event streams have none. */
    timeoutMs?: number;
    signal?: AbortSignal;
  };

type BodyOf<Reply> = Reply extends { kind: 'json'; schema: infer Schema extends z.ZodType }
  ? z.output<Schema>
  : Reply extends z.ZodType
    ? z.output<Reply>
    : Reply extends { kind: 'text' }
      ? string
      : Reply extends { kind: 'bytes' }
        ? Uint8Array
        : undefined;

type Replies<Contract extends RouteContract> = Contract['replies'][keyof Contract['replies'] & number];

/** What a route answers when it does not refuse: the body of whichever of its replies it was. */
export type ClientReply<Contract extends RouteContract> = BodyOf<Replies<Contract>>;

type EventData<Contract extends RouteContract> =
  Replies<Contract> extends infer Reply
    ? Reply extends { kind: 'events'; schema: infer Schema extends z.ZodType }
      ? z.output<Schema>
      : never
    : never;

export interface ClientEvent<Data> {
  /** Give it back as `lastEventId` to resume after it. */
  id: string | null;
  event: string;
  data: Data;
}

/** The server refused, or answered what the contract does not know. */
export class ApiError extends Error {
  readonly status: number;
  /** Code of the error table; null when the answer was not ours. */
  readonly code: string | null;

  constructor(message: string, facts: { status: number; code: string | null }) {
    super(message);
    this.name = 'ApiError';
    this.status = facts.status;
    this.code = facts.code;
  }
}

export interface ApiClient {
  readonly url: string;
  /** @throws ApiError when the server refuses; the error of `fetch` when it cannot be reached */
  call<const Contract extends RouteContract>(
    contract: Contract,
    request: ClientRequest<Contract>,
  ): Promise<ClientReply<Contract>>;
  /**
   * Events of a stream as they come, until it ends or `signal` aborts (which ends it without an error). `onReady` hears
   * the server's `ready`: from there on nothing is missed.
   */
  stream<const Contract extends RouteContract>(
    contract: Contract,
    request: ClientRequest<Contract> & { onReady?: () => void },
  ): AsyncGenerator<ClientEvent<EventData<Contract>>, void, void>;
}

/** @param options.token access token, agent token or the system token; none for public routes */
export function createApiClient({ url, token }: { url: string; token?: string }): ApiClient {
  const base = url.replace(/\/+$/, '');

  async function send(contract: RouteContract, request: AnyRequest, signal: AbortSignal): Promise<Response> {
    const headers: Record<string, string> = { accept: accepted(contract) };
    if (token !== undefined) headers.authorization = `Bearer ${token}`;
    if (request.idempotencyKey !== undefined) headers['idempotency-key'] = request.idempotencyKey;
    if (request.lastEventId !== undefined) headers['last-event-id'] = request.lastEventId;
    if (contract.body !== undefined) headers['content-type'] = 'application/json';
    const response = await fetch(
      `${base}${fillPath(contract.path, request.params)}${queryText(request.query)}`,
      {
        method: contract.method,
        headers,
        signal,
        ...(contract.body === undefined ? {} : { body: JSON.stringify(request.body ?? {}) }),
      },
    );
    if (!response.ok) throw await readRefusal(contract, response);
    return response;
  }

  return {
    url: base,
    async call(contract, request) {
      const given = request as AnyRequest;
      const deadline = AbortSignal.timeout(given.timeoutMs ?? DEFAULT_CALL_TIMEOUT_MS);
      const signal = given.signal === undefined ? deadline : AbortSignal.any([deadline, given.signal]);
      const response = await send(contract, given, signal);
      return (await readBody(contract, response)) as ClientReply<typeof contract>;
    },
    async *stream(contract, request) {
      const given = request as AnyRequest;
      const ending = new AbortController();
      const signal =
        given.signal === undefined ? ending.signal : AbortSignal.any([ending.signal, given.signal]);
      try {
        const response = await send(contract, given, signal);
        const schema = replySpec(contract, response.status)?.schema ?? z.unknown();
        for await (const { id, event, data } of readServerEvents(response.body)) {
          if (event === READY_EVENT) request.onReady?.();
          else yield { id, event, data: schema.parse(JSON.parse(data)) as EventData<typeof contract> };
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        ending.abort();
      }
    },
  };
}

interface AnyRequest {
  params?: Record<string, unknown>;
  query?: Record<string, unknown>;
  body?: unknown;
  idempotencyKey?: string;
  lastEventId?: string;
  timeoutMs?: number;
  signal?: AbortSignal;
}

function accepted(contract: RouteContract): string {
  const replies = Object.values(contract.replies).map((reply) =>
    reply instanceof z.ZodType ? 'application/json' : (reply as ReplySpec).contentType,
  );
  return [...new Set(replies.filter((type) => type !== ''))].join(', ') || '*/*';
}

function fillPath(path: string, params: Record<string, unknown> = {}): string {
  return path.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(params[name])));
}

function queryText(query: Record<string, unknown> = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value));
  const text = search.toString();
  return text === '' ? '' : `?${text}`;
}

async function readBody(contract: RouteContract, response: Response): Promise<unknown> {
  const spec = replySpec(contract, response.status);
  if (spec === undefined) {
    const message = `${contract.method} ${contract.path} answered ${response.status}, which its contract does not know`;
    throw new ApiError(message, { status: response.status, code: null });
  }
  if (spec.kind === 'empty') {
    await response.body?.cancel();
    return undefined;
  }
  if (spec.kind === 'text') return response.text();
  if (spec.kind === 'bytes') return new Uint8Array(await response.arrayBuffer());
  const body: unknown = await response.json();
  return spec.schema === undefined ? body : spec.schema.parse(body);
}

/** The parts of `application/problem+json` a person needs. */
const refusalSchema = z.object({
  code: z.string().nullable().catch(null),
  detail: z.string().optional().catch(undefined),
  title: z.string().optional().catch(undefined),
  errors: z
    .array(z.object({ pointer: z.string(), message: z.string() }))
    .optional()
    .catch(undefined),
});

async function readRefusal(contract: RouteContract, response: Response): Promise<ApiError> {
  const text = await response.text();
  const refusal = refusalSchema.safeParse(parseJson(text)).data;
  const why = refusal?.detail ?? refusal?.title ?? text.slice(0, 200);
  const fields = (refusal?.errors ?? []).map(({ pointer, message }) => `${pointer || '/'}: ${message}`);
  const message = `${contract.method} ${contract.path} answered ${response.status}: ${[why, ...fields].join('; ')}`;
  return new ApiError(message, { status: response.status, code: refusal?.code ?? null });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
