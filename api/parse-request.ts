import type { z } from 'zod';
import { problem, type ValidationIssue } from '../contracts/errors.ts';
import type { Principal } from '../contracts/principal.ts';
import { answersEvents, type HandlerRequest, type RouteContract } from '../contracts/route.ts';
import type { AppContext } from './context.ts';
import { parseBody } from './middleware/read-body.ts';
import { toValidationIssues } from './validation-issues.ts';

const idempotencyKeyPattern = /^[\x21-\x7e]{1,255}$/;

/** What a request says, without who says it. */
export type RequestParts = Pick<
  HandlerRequest<RouteContract>,
  'params' | 'query' | 'headers' | 'body' | 'idempotencyKey'
>;

/**
 * What the request says, as its contract describes it. Everything wrong with it is reported at once.
 * @param bytes of its body, where the contract has one
 *
 * Throws `validation_failed`, and what `parseBody` throws.
 */
export function parseRequest(
  ctx: AppContext,
  contract: RouteContract,
  bytes: Buffer | undefined,
): RequestParts {
  const body = parseBody(ctx, bytes, contract.bodyTypes);
  const issues: ValidationIssue[] = [];
  function parse(schema: z.ZodType | undefined, value: unknown, where: ValidationIssue['in']): unknown {
    if (schema === undefined) return where === 'body' ? undefined : {};
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    issues.push(...toValidationIssues(result.error.issues, value, where));
  }
  const parsed = {
    params: parse(contract.params, paramsOf(ctx, issues), 'path'),
    query: parse(contract.query, queryOf(ctx, contract, issues), 'query'),
    headers: parse(contract.headers, ctx.req.headers, 'header'),
    body: parse(contract.body, body, 'body'),
    idempotencyKey: idempotencyKeyOf(ctx, issues),
  };
  if (issues.length > 0) throw problem('validation_failed', {}, { issues });
  return parsed as RequestParts;
}

/** The whole request, for the handler. */
export function requestOf(
  ctx: AppContext,
  parts: RequestParts,
  shutdown: AbortSignal,
): HandlerRequest<RouteContract> {
  return {
    ...parts,
    // A route that is not public has been refused before it comes here without one.
    principal: ctx.state.principal as Principal,
    path: ctx.state.safePath,
    requestId: ctx.state.requestId,
    address: ctx.state.address,
    userAgent: ctx.get('User-Agent'),
    lastEventId: ctx.get('Last-Event-ID') || null,
    signal: endSignal(ctx, shutdown),
  };
}

function paramsOf(ctx: AppContext, issues: ValidationIssue[]): Record<string, string> {
  const params: Record<string, string> = { ...ctx.params };
  for (const [name, value] of Object.entries(params)) refuseNul('path', name, value, issues);
  return params;
}

/** What `authenticate` reads where a query may hold a credential; no parameter of the route's own. */
const credentialParameters = ['token', 'api_token', 'ticket'] as const;

function queryOf(
  ctx: AppContext,
  contract: RouteContract,
  issues: ValidationIssue[],
): Record<string, string | string[]> {
  // Not ctx.URL: it is empty when the Host header is no host.
  const given = new URLSearchParams(ctx.querystring);
  if (contract.family === 'ananta' || answersEvents(contract)) {
    for (const name of credentialParameters) if (!contract.query?.shape[name]) given.delete(name);
  }
  for (const [name, value] of given) refuseNul('query', name, value, issues);
  // Forms of ananta's clients send what was left empty.
  const isFilled = ([, value]: [string, string]) => value !== '';
  return parameterLists(
    contract.family === 'ananta' ? new URLSearchParams([...given].filter(isFilled)) : given,
  );
}

/** A parameter that is given once is a text, given more often a list. */
export function parameterLists(given: URLSearchParams): Record<string, string | string[]> {
  // One pass: a query may hold thousands of names.
  const lists = new Map<string, string[]>();
  for (const [name, value] of given) {
    const values = lists.get(name);
    if (values === undefined) lists.set(name, [value]);
    else values.push(value);
  }
  const entries = [...lists].map(
    ([name, values]) => [name, values.length > 1 ? values : (values[0] ?? '')] as const,
  );
  return Object.fromEntries(entries);
}

/** No text column can hold it; in a body the JSON scanner refuses it. */
function refuseNul(where: 'path' | 'query', name: string, value: string, issues: ValidationIssue[]): void {
  if (!value.includes('\0')) return;
  issues.push({
    in: where,
    path: [name],
    message: 'The character U+0000 is not allowed',
    type: 'value_error',
  });
}

function idempotencyKeyOf(ctx: AppContext, issues: ValidationIssue[]): string | null {
  const key = ctx.get('Idempotency-Key');
  if (key === '' || ctx.method !== 'POST') return null;
  if (!idempotencyKeyPattern.test(key)) {
    const message = 'Must be 1 to 255 printable ASCII characters without blanks';
    issues.push({ in: 'header', path: ['idempotency-key'], message, type: 'string_pattern_mismatch' });
  }
  return key;
}

/**
 * Aborted when the client goes before its answer has left, or when the server shuts down.
 * Not AbortSignal.any: its signals would hang on the one of the server for as long as that lives.
 */
function endSignal(ctx: AppContext, shutdown: AbortSignal): AbortSignal {
  const end = new AbortController();
  const abort = () => end.abort();
  if (shutdown.aborted) abort();
  shutdown.addEventListener('abort', abort);
  void ctx.state.ended.then(() => {
    shutdown.removeEventListener('abort', abort);
    if (!ctx.res.writableFinished) abort();
  });
  return end.signal;
}
