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
 * What `take` makes of the socket is expelled when its credential ends, or the right to this socket.
 * @throws rate_limited when it holds too many
 */
export async function acceptUserSocket<Socket extends { expel(): void }>(
  { sessions, streams }: Pick<UserSocketDeps, 'sessions' | 'streams'>,
  upgrade: Upgrade,
  { principal, right }: { principal: Principal; right: Right },
  take: (ws: WebSocket, viewer: Viewer) => Socket,
): Promise<{ socket: Socket; viewer: Viewer }> {
  const leave = streams.enter(principal);
  upgrade.request.socket.once('close', leave);
  if (upgrade.request.socket.destroyed) leave();
  const ws = await upgrade.accept();
  // The watch never calls before this turn is over, so there is a socket to expel by then.
  const viewer = sessions.watch(principal, () => socket.expel(), right);
  ws.once('close', () => viewer.stop());
  const socket = take(ws, viewer);
  return { socket, viewer };
}
