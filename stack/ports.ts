/** Choice of TCP ports on the loopback interface. */
import { createServer } from 'node:net';

const LOOPBACK = '127.0.0.1';

/**
 * `preferred` when it is free, otherwise a port the system chooses. The port is free when this returns, not reserved:
 * whoever binds it must be ready to be refused.
 */
export async function findFreePort(preferred?: number): Promise<number> {
  if (preferred !== undefined && (await tryBind(preferred)) !== null) return preferred;
  const port = await tryBind(0);
  if (port === null) throw new Error(`No free TCP port on ${LOOPBACK}`);
  return port;
}

function tryBind(port: number): Promise<number | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(null));
    server.listen({ port, host: LOOPBACK, exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : null));
    });
  });
}
