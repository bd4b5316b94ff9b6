import { z } from 'zod';
import type { ErrorCode } from './errors.ts';
import type { Family, Profile } from './families/family.ts';
import type { Principal, Resource, Verb } from './principal.ts';
import type { RateClassName } from './rate-classes.ts';

/**
 * The contract of one route: everything a client, the OpenAPI document, the router and the handler's types need
 * to know about it, written once. `api/mount.ts` joins a contract and its handler.
 */
export type RouteContract = RouteShape & RouteAccess;

interface RouteShape {
  family: Family;
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** OpenAPI style, parameters in braces: `/v1/tasks/{taskId}`. `/x` and `/x/` are the same route. */
  path: `/${string}`;
  /** Only for the paths on which listeners differ (`/` and `/health`). */
  profile?: Profile;
  summary: string;
  description?: string;
  tags: readonly string[];
  rateClass: RateClassName;
  params?: z.ZodObject;
  query?: z.ZodObject;
  /** Names in lower case. Headers that every route reads (Authorization, Idempotency-Key …) are not named here. */
  headers?: z.ZodObject;
  body?: z.ZodType;
  /** How the body may come; JSON unless said otherwise. */
  bodyTypes?: readonly BodyType[];
  /** The handler makes use of `Idempotency-Key`; only then it is documented. */
  takesIdempotencyKey?: true;
  replies: Readonly<Record<number, z.ZodType | ReplySpec>>;
  /** Codes this route's handler may throw; those of the frame (401, 403, 422 …) follow from the contract. */
  errors?: readonly ErrorCode[];
  /** Where this route's contract gives a code another status or text than its family does. */
  errorTexts?: Partial<Record<ErrorCode, ErrorText>>;
}

type RouteAccess =
  | { auth: 'public'; verb?: undefined; resource?: undefined }
  | {
      /** Who may come in at all: `user` and `agent` each include the system token, `any` is everyone known. */
      auth: 'user' | 'agent' | 'any';
      /** Asked of the policy before anything is looked up. */
      verb: Verb;
      resource: Resource;
    };

/** How bodies may come, with their media types. `report` is what browsers send of themselves: JSON by another name. */
export const bodyMediaTypes = {
  json: 'application/json',
  form: 'application/x-www-form-urlencoded',
  report: 'application/csp-report',
} as const;
export type BodyType = keyof typeof bodyMediaTypes;

/** How a family words a code; `message` may name the code's parameters (`{agentId}`). */
export interface ErrorText {
  status?: number;
  message?: string;
  /** The code as the family spells it. */
  code?: string;
}

/** A reply that is more than a JSON body; build it with the functions below. */
export interface ReplySpec {
  kind: 'json' | 'text' | 'bytes' | 'events' | 'empty';
  contentType: string;
  /** Schema of the body; of one event's data for `events`. */
  schema?: z.ZodType;
  /** Of `json`: the request may ask for server-sent events instead, each with data of this schema. */
  eventData?: z.ZodType;
  /** Headers worth documenting, with what they say. */
  headers?: Readonly<Record<string, string>>;
  description?: string;
}

type ReplyNotes = Pick<ReplySpec, 'headers' | 'description'>;

/** A JSON body with documented headers; without any, name the bare schema instead. */
export function json<Schema extends z.ZodType>(
  schema: Schema,
  notes: ReplyNotes & { contentType?: string } = {},
) {
  return { kind: 'json', contentType: 'application/json', schema, ...notes } as const;
}

/** A JSON body, or server-sent events where the request asks for them. */
export function jsonOrEvents<Schema extends z.ZodType, Data extends z.ZodType>(
  schema: Schema,
  eventData: Data,
  notes: ReplyNotes = {},
) {
  return { kind: 'json', contentType: 'application/json', schema, eventData, ...notes } as const;
}

/** Text, sent as it is. */
export function text(contentType: string, notes: ReplyNotes = {}) {
  return { kind: 'text', contentType, ...notes } as const;
}

/** Bytes: a buffer or a stream. */
export function bytes(contentType = 'application/octet-stream', notes: ReplyNotes = {}) {
  return { kind: 'bytes', contentType, ...notes } as const;
}

/** Server-sent events; the schema is that of one event's `data`. */
export function events<Schema extends z.ZodType>(schema: Schema, notes: ReplyNotes = {}) {
  return { kind: 'events', contentType: 'text/event-stream', schema, ...notes } as const;
}

/** A status alone (204, 304). */
export function empty(notes: ReplyNotes = {}) {
  return { kind: 'empty', contentType: '', ...notes } as const;
}

/** One server-sent event. `data` that is not text is sent as JSON. */
export interface StreamEvent {
  id?: string;
  event?: string;
  data: unknown;
}

/** An open event stream. Sending on a closed stream does nothing. */
export interface EventStream {
  send(event: StreamEvent): void;
  comment(text: string): void;
  /** Resolves when most of what was sent has left, or the stream has ended. A writer of much waits for it. */
  drained(): Promise<void>;
  close(): void;
  /** Aborted once the stream has ended, whoever ended it. */
  readonly closed: AbortSignal;
}

/** Who holds an open stream, with the rights of now (null where a stranger may). It is closed when they end. */
export interface StreamViewer<Holder extends Principal | null = Principal | null> {
  readonly principal: Holder;
}

type Output<Schema, Absent> = Schema extends z.ZodType ? z.output<Schema> : Absent;
type Nothing = Record<never, never>;

/** What a handler is given: the parsed request, and facts about it. */
export interface HandlerRequest<Contract extends RouteContract> {
  params: Output<Contract['params'], Nothing>;
  query: Output<Contract['query'], Nothing>;
  headers: Output<Contract['headers'], Nothing>;
  body: Output<Contract['body'], undefined>;
  principal: Contract['auth'] extends 'public' ? Principal | null : Principal;
  /** Path with its query, secrets stripped. */
  path: string;
  /** Correlation id: the client's own when it is well-formed, else ours. */
  requestId: string;
  /** Address of the client, behind the trusted proxies. */
  address: string;
  userAgent: string;
  /** `Idempotency-Key` of the request, 1 to 255 printable characters. */
  idempotencyKey: string | null;
  /** `Last-Event-ID` of a resuming event stream. */
  lastEventId: string | null;
  /** Aborted when the client has gone or the server shuts down. */
  signal: AbortSignal;
}

type ReplyHeaders = { headers?: Readonly<Record<string, string>> };

interface StreamBody<Holder extends Principal | null> {
  /** Runs with the open stream; the stream ends when it returns or throws. Throw before returning this to answer an error. */
  stream: (stream: EventStream, viewer: StreamViewer<Holder>) => Promise<void>;
  /** Text of the keep-alive comment. */
  keepAliveText?: string;
  keepAliveMs?: number;
}

type ReplyBody<Reply, Holder extends Principal | null> = Reply extends { kind: 'events' }
  ? StreamBody<Holder>
  : Reply extends { kind: 'empty' }
    ? { body?: undefined }
    : Reply extends { kind: 'text' }
      ? { body: string }
      : Reply extends { kind: 'bytes' }
        ? { body: Uint8Array | AsyncIterable<Uint8Array> }
        : Reply extends { kind: 'json'; schema: infer Schema extends z.ZodType }
          ? { body: z.input<Schema> } | (Reply extends { eventData: z.ZodType } ? StreamBody<Holder> : never)
          : Reply extends z.ZodType
            ? { body: z.input<Reply> }
            : never;

/** What a handler answers: one of the contract's replies. */
export type HandlerReply<Contract extends RouteContract> = {
  [Status in keyof Contract['replies'] & number]: { status: Status } & ReplyHeaders &
    ReplyBody<Contract['replies'][Status], HandlerRequest<Contract>['principal']>;
}[keyof Contract['replies'] & number];

export type Handler<Contract extends RouteContract> = (
  request: HandlerRequest<Contract>,
) => Promise<HandlerReply<Contract>>;

/**
 * Declares a route. Throws at import when the contract contradicts itself, so that no server starts with it:
 * path parameters without a schema, a body on GET, no reply.
 */
export function defineRoute<const Contract extends RouteContract>(contract: Contract): Contract {
  const name = `${contract.method} ${contract.path}`;
  const inPath = pathParameters(contract.path).sort().join();
  const inSchema = Object.keys(contract.params?.shape ?? {})
    .sort()
    .join();
  if (inPath !== inSchema) {
    throw new Error(`${name}: the path names the parameters [${inPath}], the schema [${inSchema}]`);
  }
  if (contract.method === 'GET' && contract.body) throw new Error(`${name}: GET takes no body`);
  if (Object.keys(contract.replies).length === 0) throw new Error(`${name}: no reply is declared`);
  if (contract.path.length > 1 && contract.path.endsWith('/'))
    throw new Error(`${name}: leave out the last slash`);
  return contract;
}

/** Names of the parameters in a path, in order. */
export function pathParameters(path: string): string[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name ?? '');
}

/** Does the route answer an event stream? */
export const answersEvents = ({ replies }: Pick<RouteContract, 'replies'>): boolean =>
  Object.values(replies).some((reply) => 'kind' in reply && reply.kind === 'events');

/** The reply of a status with its defaults filled in; undefined when the contract does not declare it. */
export function replySpec(contract: RouteContract, status: number): ReplySpec | undefined {
  const reply = contract.replies[status];
  if (reply === undefined) return undefined;
  return reply instanceof z.ZodType ? json(reply) : reply;
}

/**
 * Every error code the route may answer: its own, and those that follow from its shape.
 * `internal_error` and `shutdown_in_progress` are always possible.
 */
export function errorsOf(contract: RouteContract): ErrorCode[] {
  const codes = new Set<ErrorCode>(contract.errors);
  if (contract.auth !== 'public') for (const code of accessErrors) codes.add(code);
  if (contract.rateClass !== 'unlimited') codes.add('rate_limited');
  if (contract.params || contract.query || contract.headers || contract.body) codes.add('validation_failed');
  if (contract.method !== 'GET') codes.add('validation_failed');
  if (contract.body) for (const code of bodyErrors) codes.add(code);
  for (const code of serverErrors) codes.add(code);
  return [...codes];
}

const accessErrors = ['unauthorized', 'invalid_token', 'forbidden', 'password_change_required'] as const;
const bodyErrors = ['malformed_json', 'body_too_large', 'unsupported_media_type'] as const;
const serverErrors = [
  'internal_error',
  'shutdown_in_progress',
  'service_unavailable',
  'database_unavailable',
  'temporal_unavailable',
] as const;
