/** What every socket of a person or a program has in common, whatever it carries: who holds it, how many, how long. */
import type { WebSocket } from 'ws';
import { isProblem } from '../contracts/errors.ts';
import type { Principal } from '../contracts/principal.ts';
import type { Authenticate } from './context.ts';
import type { Right, SessionWatch, Viewer } from './events/session-watch.ts';
import type { OpenStreams } from './open-streams.ts';
import type { Upgrade } from './upgrade.ts';

export interface UserSocketDeps {
  authenticate: Authenticate;
  sessions: SessionWatch;
  streams: OpenStreams;
}

/** Who asks for the socket; null for nobody and for a bad credential. A ticket is used up by it. */
export async function identifyUpgrade(
  { authenticate }: Pick<UserSocketDeps, 'authenticate'>,
  upgrade: Upgrade,
): Promise<Principal | null> {
  try {
    return await authenticate({ ...upgrade, headers: upgrade.request.headers });
  } catch (error) {
    if (isProblem(error)) return null;
    throw error;
  }
}

/**
 * Completes the handshake for this principal and holds it against the bound of its sockets.
 * `onGone` is called when its credential ends, or the right to this socket: close it then.
 * @throws rate_limited when it holds too many
 */
export async function acceptUserSocket(
  { sessions, streams }: Pick<UserSocketDeps, 'sessions' | 'streams'>,
  upgrade: Upgrade,
  { principal, right, onGone }: { principal: Principal; right: Right; onGone: () => void },
): Promise<{ ws: WebSocket; viewer: Viewer }> {
  const leave = streams.enter(principal);
  upgrade.request.socket.once('close', leave);
  if (upgrade.request.socket.destroyed) leave();
  const ws = await upgrade.accept();
  const viewer = sessions.watch(principal, onGone, right);
  ws.once('close', () => viewer.stop());
  return { ws, viewer };
}
