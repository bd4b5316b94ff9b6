import { isProblem, problem } from '../contracts/errors.ts';
import type { Principal, Resource, Verb } from '../contracts/principal.ts';
import type { Handler, HandlerRequest, RouteContract } from '../contracts/route.ts';
import type { AppContext, AppMiddleware, Authenticate, Log } from './context.ts';
import type { OpenStreams } from './open-streams.ts';
import { parseRequest } from './parse-request.ts';
import type { RateLimit } from './rate-limit.ts';
import { type AnyReply, checkReply, declaredErrors, sendReply } from './reply.ts';

/** A contract with its handler, the types of both forgotten: what the app is made of. */
export interface MountedRoute {
  readonly contract: RouteContract;
  readonly handle: (request: HandlerRequest<RouteContract>) => Promise<AnyReply>;
}

/** Joins a contract and a handler that keeps it. */
export function mount<const Contract extends RouteContract, Handle extends Handler<Contract>>(
  contract: Contract,
  handler: Handle,
): MountedRoute {
  // The handler is only ever called with what this contract's own schemas have parsed.
  return { contract, handle: handler as unknown as MountedRoute['handle'] };
}

/** A known principal asked for something that the policy does not grant. */
export interface Denial {
  principal: Principal;
  address: string;
  requestId: string;
  contract: RouteContract;
}

/** What every route needs around its handler. */
export interface RouteFrame {
  authenticate: Authenticate;
  /** The policy, asked before anything is looked up. */
  can: (principal: Principal, verb: Verb, resource: Resource) => boolean;
  /** Hears of every refusal for lack of a right, before it is answered. Never throws. */
  onDenied?: (denial: Denial) => Promise<void>;
  rateLimit: RateLimit;
  streams: OpenStreams;
  shutdown: AbortSignal;
  log: Log;
  /** Parse every reply with its schema and refuse undeclared errors: for tests, it costs a parse a request. */
  checkReplies: boolean;
}

/**
 * The life of a request once its route is known. Who asks comes before what is asked (no body is parsed and
 * nothing is looked up for a stranger), and a refused caller is counted as well.
 */
export function routeMiddleware(frame: RouteFrame, { contract, handle }: MountedRoute): AppMiddleware {
  return async (ctx) => {
    ctx.state.route = contract;
    const denial = await identify(frame, ctx, contract);
    await frame.rateLimit(ctx, contract.rateClass);
    if (denial) throw denial;
    try {
      authorise(frame, ctx, contract);
      const request = await parseRequest(ctx, contract, frame.shutdown);
      const answer = handle(request);
      const reply = await (frame.checkReplies ? declaredErrors(contract, answer) : answer);
      if (frame.checkReplies) checkReply(contract, reply);
      sendReply(ctx, contract, reply, frame);
    } catch (error) {
      // By the policy of the route, or by what the handler found to depend on the thing or on the body.
      if (isProblem(error, 'forbidden')) await reportDenial(frame, ctx, contract);
      throw error;
    }
  };
}

async function reportDenial(frame: RouteFrame, ctx: AppContext, contract: RouteContract): Promise<void> {
  const { principal, address, requestId } = ctx.state;
  if (principal !== null) await frame.onDenied?.({ principal, address, requestId, contract });
}

/** Finds out who asks; a bad credential is returned so that the call is counted before it is refused. */
async function identify(frame: RouteFrame, ctx: AppContext, contract: RouteContract): Promise<unknown> {
  try {
    ctx.state.principal = await frame.authenticate({
      headers: ctx.req.headers,
      query: new URLSearchParams(ctx.querystring),
      family: contract.family,
      address: ctx.state.address,
    });
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
  if (!isExpected || !frame.can(principal, contract.verb, contract.resource)) throw problem('forbidden');
}
