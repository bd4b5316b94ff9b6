/** A TCP proxy between an agent and the API that can become as slow as a line can be, both ways. */
import { type AddressInfo, createServer, connect as dial, type Socket } from 'node:net';

/** How often a slow line passes its one byte, milliseconds. */
const BYTE_EVERY_MS = 1_000;

export interface SlowProxy {
  url: string;
  /** From now on one byte a second passes in each direction of each connection. */
  slowDown(): void;
  /** Bytes that passed to the agent since it was slowed down. */
  trickled(): number;
  /** From now on each byte is a segment of its own, without a pause. */
  split(): void;
  /** Everything passes (again), what was held back first. */
  restore(): void;
  close(): Promise<void>;
}

export async function startSlowProxy(target: string): Promise<SlowProxy> {
  const { hostname, port } = new URL(target);
  let pace: 'quick' | 'slow' | 'split' = 'quick';
  let trickled = 0;
  const lines = new Set<{ trickle(): void; drain(): void; end(): void }>();

  const join = (from: Socket, to: Socket, isDown: boolean) => {
    let held = Buffer.alloc(0);
    const pass = (bytes: Buffer): void => {
      if (to.destroyed) return;
      if (pace === 'split') for (const byte of bytes) to.write(Uint8Array.of(byte));
      else to.write(bytes);
    };
    from.on('data', (bytes: Buffer) => {
      if (pace !== 'slow') return pass(bytes);
      held = Buffer.concat([held, bytes]);
      // What comes behind waits in the sender, as on a line that is full.
      from.pause();
    });
    return {
      trickle() {
        if (held.length === 0) return;
        pass(held.subarray(0, 1));
        held = held.subarray(1);
        if (isDown) trickled += 1;
        if (held.length === 0) from.resume();
      },
      drain() {
        pass(held);
        held = Buffer.alloc(0);
        from.resume();
      },
      end: () => from.destroy(),
    };
  };

  const server = createServer((near) => {
    const far = dial(Number(port), hostname);
    const both = [join(near, far, false), join(far, near, true)];
    for (const line of both) lines.add(line);
    for (const socket of [near, far]) {
      socket.setNoDelay(true);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        for (const line of both) lines.delete(line);
        near.destroy();
        far.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const timer = setInterval(() => {
    if (pace === 'slow') for (const line of lines) line.trickle();
  }, BYTE_EVERY_MS);
  const drain = (next: typeof pace): void => {
    pace = next;
    for (const line of lines) line.drain();
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    slowDown() {
      pace = 'slow';
      trickled = 0;
    },
    trickled: () => trickled,
    split: () => drain('split'),
    restore: () => drain('quick'),
    close: () =>
      new Promise((resolve) => {
        clearInterval(timer);
        server.close(() => resolve());
        for (const line of [...lines]) line.end();
      }),
  };
}
