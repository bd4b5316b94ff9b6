/** A way to a server that a test can close: a TCP proxy whose port stays the same. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export interface TcpProxy {
  /** `host:port` of this side. */
  address: string;
  /** Connections break, new ones are refused: the server is not there. */
  refuse(): Promise<void>;
  /** Connections stay and are accepted, but nothing passes any more: the server hangs. */
  blackhole(): Promise<void>;
  /** Connections break, new ones pass. */
  cut(): void;
  /** Everything passes (again); what was held back breaks first. */
  restore(): Promise<void>;
  close(): Promise<void>;
}

/** @param to `host:port` */
export async function startTcpProxy(to: string): Promise<TcpProxy> {
  const [host = '127.0.0.1', port = ''] = to.split(':');
  const sockets = new Set<Socket>();
  let server: Server | undefined;
  let ownPort = 0;
  let isHole = false;

  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => socket.destroy());
  };
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  const open = async () => {
    const opened = createServer((near) => {
      keep(near);
      if (isHole) return void near.resume();
      const far = connect(Number(port), host);
      keep(far);
      near.on('data', (bytes) => isHole || far.write(bytes)).on('close', () => far.destroy());
      far.on('data', (bytes) => isHole || near.write(bytes)).on('close', () => near.destroy());
    });
    server = opened;
    await new Promise<void>((resolve) => opened.listen(ownPort, '127.0.0.1', resolve));
    ownPort = (opened.address() as AddressInfo).port;
  };
  const refuse = async () => {
    const closing = server;
    server = undefined;
    const closed = new Promise<void>((resolve) => (closing ? closing.close(() => resolve()) : resolve()));
    cut();
    await closed;
  };

  await open();
  return {
    address: `127.0.0.1:${ownPort}`,
    refuse,
    async blackhole() {
      isHole = true;
      if (server === undefined) await open();
    },
    cut,
    async restore() {
      if (isHole) cut();
      isHole = false;
      if (server === undefined) await open();
    },
    close: refuse,
  };
}
