import { Readable } from 'node:stream';
import { isDeepStrictEqual } from 'node:util';
import { isProblem } from '../contracts/errors.ts';
import {
  type EventStream,
  errorsOf,
  type ReplySpec,
  type RouteContract,
  replySpec,
  type StreamViewer,
} from '../contracts/route.ts';
import type { AppContext, Log } from './context.ts';
import { openEventStream } from './event-stream.ts';
import type { SessionWatch } from './events/session-watch.ts';
import type { OpenStreams } from './open-streams.ts';

/** A handler's answer without the types of its contract. */
export interface AnyReply {
  status: number;
  headers?: Readonly<Record<string, string>>;
  body?: unknown;
  stream?: (stream: EventStream, viewer: StreamViewer) => Promise<void>;
  keepAliveText?: string;
  keepAliveMs?: number;
}

interface ReplyDeps {
  log: Log;
  streams: OpenStreams;
  sessions: SessionWatch;
  shutdown: AbortSignal;
}

/** Writes a handler's reply as its contract describes it. */
export function sendReply(ctx: AppContext, contract: RouteContract, reply: AnyReply, deps: ReplyDeps): void {
  const spec = specOf(contract, reply);
  ctx.set({ ...reply.headers });
  ctx.status = reply.status;
  switch (spec.kind) {
    case 'json':
      if (spec.eventData !== undefined && reply.stream !== undefined) {
        sendEvents(ctx, contract, reply, deps);
        return;
      }
      ctx.type = spec.contentType;
      ctx.body = JSON.stringify(reply.body);
      return;
    case 'text':
      ctx.set('Content-Type', spec.contentType);
      ctx.body = reply.body;
      return;
    case 'bytes':
      if (!ctx.response.get('Content-Type')) ctx.set('Content-Type', spec.contentType);
      ctx.body = bytesBody(reply.body);
      endWithCredential(ctx, contract, deps);
      return;
    case 'empty':
      ctx.body = null;
      return;
    case 'events':
      sendEvents(ctx, contract, reply, deps);
  }
}

function bytesBody(body: unknown): Buffer | Readable {
  if (body instanceof Readable) return body;
  if (body instanceof Uint8Array) return Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  return Readable.from(body as AsyncIterable<Uint8Array>);
}

/** A long download is a stream like others: it is cut off when the credential ends, or the right to it. */
function endWithCredential(ctx: AppContext, contract: RouteContract, { sessions }: ReplyDeps): void {
  const { principal } = ctx.state;
  if (!(ctx.body instanceof Readable) || principal === null || contract.auth === 'public') return;
  const viewer = sessions.watch(principal, () => ctx.res.destroy(), contract);
  void ctx.state.ended.then(viewer.stop);
}

/** Koa starts to send when the middlewares have returned, so the writer runs beside them. */
function sendEvents(ctx: AppContext, contract: RouteContract, reply: AnyReply, deps: ReplyDeps): void {
  const { log, shutdown, streams, sessions } = deps;
  const { stream: write, keepAliveText, keepAliveMs } = reply;
  if (write === undefined || ctx.method === 'HEAD') {
    ctx.type = 'text/event-stream';
    ctx.body = '';
    return;
  }
  const { principal } = ctx.state;
  const leave = streams.enter(principal);
  void ctx.state.ended.then(leave);
  const stream = openEventStream(ctx, { keepAliveText, keepAliveMs, signal: shutdown });
  const right = contract.auth === 'public' ? undefined : contract;
  const viewer = principal === null ? null : sessions.watch(principal, stream.close, right);
  if (viewer !== null) void ctx.state.ended.then(viewer.stop);
  const writer = write(stream, viewer ?? { principal: null })
    .catch((err: unknown) => log.error({ event: 'event_stream_failed', requestId: ctx.state.requestId, err }))
    .finally(() => stream.close());
  streams.writing(writer);
}

/** Throws when a reply is not one that the contract declares: its status, its body, or keys nobody promised. */
export function checkReply(contract: RouteContract, reply: AnyReply): void {
  const spec = specOf(contract, reply);
  if (spec.kind !== 'json' || spec.schema === undefined || reply.stream !== undefined) return;
  const wire: unknown = JSON.parse(JSON.stringify(reply.body) ?? 'null');
  const result = spec.schema.safeParse(wire);
  if (!result.success)
    throw new Error(`${nameOf(contract, reply)} does not match its schema: ${result.error.message}`);
  if (!isDeepStrictEqual(result.data, wire)) {
    throw new Error(`${nameOf(contract, reply)} holds more than its schema: ${JSON.stringify(wire)}`);
  }
}

/** Passes a handler's answer on; an error that its contract does not declare is our fault. */
export async function declaredErrors(contract: RouteContract, answer: Promise<AnyReply>): Promise<AnyReply> {
  try {
    return await answer;
  } catch (thrown) {
    if (!isProblem(thrown) || errorsOf(contract).includes(thrown.code)) throw thrown;
    throw new Error(`${contract.method} ${contract.path} does not declare the error ${thrown.code}`, {
      cause: thrown,
    });
  }
}

function specOf(contract: RouteContract, reply: AnyReply): ReplySpec {
  const spec = replySpec(contract, reply.status);
  if (spec === undefined) throw new Error(`${nameOf(contract, reply)} is not declared`);
  return spec;
}

function nameOf(contract: RouteContract, reply: AnyReply): string {
  return `the reply ${reply.status} of ${contract.method} ${contract.path}`;
}
