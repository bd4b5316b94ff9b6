/** A way to a server that a test can block and open: a TCP proxy on a port that stays the same. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export interface Road {
  address: string;
  block(): Promise<void>;
  open(): Promise<void>;
}

export async function createRoad(to: string): Promise<Road> {
  const [host = '127.0.0.1', port = '7233'] = to.split(':');
  const sockets = new Set<Socket>();
  let server: Server | undefined;
  let ownPort = 0;
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => socket.destroy());
  };
  const open = async () => {
    server = createServer((near) => {
      const far = connect(Number(port), host);
      keep(near);
      keep(far);
      near.pipe(far).pipe(near);
      near.on('close', () => far.destroy());
      far.on('close', () => near.destroy());
    });
    await new Promise<void>((resolve) => server?.listen(ownPort, '127.0.0.1', resolve));
    ownPort = (server.address() as AddressInfo).port;
  };
  await open();
  return {
    address: `127.0.0.1:${ownPort}`,
    open,
    async block() {
      const closed = new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()));
      server = undefined;
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
