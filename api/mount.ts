import { isProblem, problem } from '../contracts/errors.ts';
import type { Principal, Resource, Verb } from '../contracts/principal.ts';
import { answersEvents, type Handler, type HandlerRequest, type RouteContract } from '../contracts/route.ts';
import { refusalFor } from '../domain/policy.ts';
import type { AppContext, AppMiddleware, Authenticate, CredentialSource, Log } from './context.ts';
import { type Denial, denialCodeOf } from './denials.ts';
import type { SessionWatch } from './events/session-watch.ts';
import { readBody } from './middleware/read-body.ts';
import type { OpenStreams } from './open-streams.ts';
import { parseRequest, requestOf } from './parse-request.ts';
import type { RateLimit } from './rate-limit.ts';
import { type AnyReply, checkReply, declaredErrors, sendReply } from './reply.ts';

/** A contract with its handler, the types of both forgotten: what the app is made of. */
export interface MountedRoute {
  readonly contract: RouteContract;
  readonly handle: (request: HandlerRequest<RouteContract>) => Promise<AnyReply>;
}

/** A body that took longer than this has its sender looked at again, milliseconds. */
export const MAX_UNCHECKED_MS = 250;

/** Joins a contract and a handler that keeps it. */
export function mount<const Contract extends RouteContract, Handle extends Handler<Contract>>(
  contract: Contract,
  handler: Handle,
): MountedRoute {
  // The handler is only ever called with what this contract's own schemas have parsed.
  return { contract, handle: handler as unknown as MountedRoute['handle'] };
}

/** What every route needs around its handler. */
export interface RouteFrame {
  authenticate: Authenticate;
  /** The same principal with the rights of now, null when its credential has ended; asked where a body took its time. */
  recheck?: (principal: Principal) => Promise<Principal | null>;
  /** The policy, asked before anything is looked up. */
  can: (principal: Principal, verb: Verb, resource: Resource) => boolean;
  /** Hears of every refusal for who asks, from where or how often, before it is answered. Never throws. */
  onDenied?: (denial: Denial) => Promise<void>;
  rateLimit: RateLimit;
  streams: OpenStreams;
  /** Ends streams whose credential has ended. */
  sessions: SessionWatch;
  shutdown: AbortSignal;
  log: Log;
  /** Parse every reply with its schema and refuse undeclared errors: for tests, it costs a parse a request. */
  checkReplies: boolean;
}

/**
 * The life of a request once its route is known. Who asks comes before what is asked (no body is parsed and
 * nothing is looked up for a stranger), and a refused caller is counted as well. While the session of a token of ours
 * is looked up the bytes of the body are read, no more: what is wrong with them is told after what is wrong with who
 * sent them.
 */
export function routeMiddleware(frame: RouteFrame, { contract, handle }: MountedRoute): AppMiddleware {
  return async (ctx) => {
    ctx.state.route = contract;
    let isAsked = false;
    try {
      // A query may hold the credential, so caches have nothing to go by that says whose answer it is.
      if (contract.auth !== 'public') ctx.set('Cache-Control', 'no-store');
      const read = async () => (contract.body ? readBody(ctx) : undefined);
      let early: ReturnType<typeof read> | undefined;
      const denial = await identify(frame, ctx, contract, () => {
        early = read();
        early.catch(() => {
          // Told below, or not at all: where the answer has left, what nobody reads would hold up the connection.
          if (ctx.headerSent) ctx.req.resume();
        });
      });
      await frame.rateLimit(ctx, contract);
      if (denial) throw denial;
      authorise(frame, ctx, contract);
      const since = performance.now();
      const bytes = await (early ?? read());
      if (performance.now() - since > MAX_UNCHECKED_MS) await recheck(frame, ctx, contract);
      const parts = parseRequest(ctx, contract, bytes);
      isAsked = true;
      const answer = handle(requestOf(ctx, parts, frame.shutdown));
      const reply = await (frame.checkReplies ? declaredErrors(contract, answer) : answer);
      if (frame.checkReplies) checkReply(contract, reply);
      sendReply(ctx, contract, reply, frame);
    } catch (error) {
      // By the frame, or by what the handler found to depend on the thing or on the body. Rates that the domain counts
      // (failed attempts) are written by the domain.
      if (!isAsked || !isProblem(error, 'rate_limited')) await reportDenial(frame, ctx, contract, error);
      throw error;
    }
  };
}

/**
 * Who asks is known before the body is read, and a body may take a minute: what was taken away meanwhile must not be
 * used with it.
 */
async function recheck(frame: RouteFrame, ctx: AppContext, contract: RouteContract): Promise<void> {
  const { principal } = ctx.state;
  if (principal === null || frame.recheck === undefined) return;
  ctx.state.principal = await frame.recheck(principal);
  if (ctx.state.principal === null && contract.auth !== 'public') throw problem('invalid_token');
  authorise(frame, ctx, contract);
}

async function reportDenial(
  frame: RouteFrame,
  ctx: AppContext,
  contract: RouteContract,
  error: unknown,
): Promise<void> {
  const code = denialCodeOf(error);
  if (code === undefined) return;
  const { principal, address, requestId } = ctx.state;
  await frame.onDenied?.({ principal, address, requestId, contract, code });
}

/** Finds out who asks; a bad credential is returned so that the call is counted before it is refused. */
async function identify(
  frame: RouteFrame,
  ctx: AppContext,
  contract: RouteContract,
  onGenuine: () => void,
): Promise<unknown> {
  try {
    const source: CredentialSource = {
      headers: ctx.req.headers,
      query: new URLSearchParams(ctx.querystring),
      family: contract.family,
      address: ctx.state.address,
      channel: answersEvents(contract) ? 'stream' : 'request',
    };
    ctx.state.principal = await frame.authenticate(source, onGenuine);
  } catch (denial) {
    // A login with a stale token in the header is still a login.
    return contract.auth === 'public' ? undefined : denial;
  }
}

/** Throws `unauthorized` where nobody is known, `forbidden` where the wrong one is. */
function authorise(frame: RouteFrame, ctx: AppContext, contract: RouteContract): void {
  if (contract.auth === 'public') return;
  const { principal } = ctx.state;
  if (principal === null) throw problem('unauthorized');
  const isExpected =
    contract.auth === 'any' || principal.kind === 'system' || principal.kind === contract.auth;
  if (!isExpected || !frame.can(principal, contract.verb, contract.resource)) throw refusalFor(principal);
}
