/**
 * A TCP relay that can hold its traffic: what lies between two commits of two processes becomes a place where a test
 * can stand. Bytes that are held when either side dies are lost, as on a real wire.
 */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** `up`: from the client to the server behind the gate. */
export type Direction = 'up' | 'down';

export interface Gate {
  port: number;
  /** `127.0.0.1:port` */
  address: string;
  /** From now on bytes of this direction wait. */
  hold(direction: Direction): void;
  /** From the first bytes on that hold this text, what goes in this direction waits. */
  holdFrom(direction: Direction, text: string): void;
  /** Everything (of one direction, when given) flows again, what waited first. */
  release(only?: Direction): void;
  /** Bytes that wait in this direction, over all connections. */
  heldBytes(direction: Direction): number;
  /** End every connection now. */
  cut(): void;
  close(): Promise<void>;
}

interface Pipe {
  source: Socket;
  target: Socket;
  direction: Direction;
  waiting: Buffer[];
}

/** @param target where the server behind the gate listens now; asked at every connection, so it may move */
export async function openGate(target: () => number): Promise<Gate> {
  const held: Record<Direction, boolean> = { up: false, down: false };
  const heldBytes: Record<Direction, number> = { up: 0, down: 0 };
  const triggers: Record<Direction, string | null> = { up: null, down: null };
  const pipes = new Set<Pipe>();

  const relay = (source: Socket, sink: Socket, direction: Direction): void => {
    const pipe: Pipe = { source, target: sink, direction, waiting: [] };
    pipes.add(pipe);
    source.on('data', (bytes) => {
      const chunk = Buffer.from(bytes);
      const trigger = triggers[direction];
      if (trigger !== null && chunk.includes(trigger)) {
        triggers[direction] = null;
        held[direction] = true;
      }
      if (held[direction]) {
        heldBytes[direction] += chunk.length;
        pipe.waiting.push(chunk);
      } else sink.write(chunk);
    });
    source.on('error', () => sink.destroy());
    source.on('close', () => {
      pipes.delete(pipe);
      sink.destroy();
    });
  };

  const server = createServer((client) => {
    const upstream = connect({ host: '127.0.0.1', port: target() });
    client.setNoDelay(true);
    upstream.setNoDelay(true);
    relay(client, upstream, 'up');
    relay(upstream, client, 'down');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;

  const cut = (): void => {
    for (const pipe of [...pipes]) pipe.source.destroy();
  };
  return {
    port,
    address: `127.0.0.1:${port}`,
    hold(direction) {
      held[direction] = true;
      heldBytes[direction] = 0;
    },
    holdFrom(direction, text) {
      triggers[direction] = text;
      heldBytes[direction] = 0;
    },
    release(only) {
      for (const direction of ['up', 'down'] as const) {
        if (only !== undefined && only !== direction) continue;
        held[direction] = false;
        triggers[direction] = null;
        heldBytes[direction] = 0;
      }
      for (const pipe of pipes)
        if (!held[pipe.direction]) for (const chunk of pipe.waiting.splice(0)) pipe.target.write(chunk);
    },
    heldBytes: (direction) => heldBytes[direction],
    cut,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        cut();
      }),
  };
}
