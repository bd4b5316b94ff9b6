/** Which pages may open sockets here. Browsers name the page's origin and do not ask first, as they do for requests. */
import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';

/**
 * True for a program (it names no origin), for exactly the listed origins, and for a page of this very listener on the
 * loopback address.
 */
export function createOriginCheck(origins: readonly string[]): (request: IncomingMessage) => boolean {
  const allowed = new Set(origins);
  return (request) => {
    const { origin } = request.headers;
    return origin === undefined || allowed.has(origin) || loopbackOrigins(request).includes(origin);
  };
}

/** By the address the connection came in on: the Host header is the client's own claim. */
function loopbackOrigins({ socket }: IncomingMessage): string[] {
  const address = socket.localAddress?.replace(/^::ffff:/, '') ?? '';
  if (address !== '::1' && !address.startsWith('127.')) return [];
  const scheme = socket instanceof TLSSocket ? 'https' : 'http';
  const hosts = ['localhost', '127.0.0.1', '[::1]'];
  // A default port stands in no origin.
  return hosts.flatMap((host) => new URL(`${scheme}://${host}:${socket.localPort}`).origin);
}
