/**
 * Who prints and types in the measurement of terminals: the same program for both contenders, and nothing else is in its
 * process, so that nothing else is collected or compiled while it measures.
 *
 * Asked over the channel of `fork` with a `ClientOrder`, it answers each with a `ClientAnswer`, one at a time.
 */
import WebSocket from 'ws';

/** What is read is acked once there is so much of it, bytes; the contract asks for 1 MiB at the latest. */
const ACK_EVERY_BYTES = 256 * 1024;
/** Between two keys, milliseconds. */
const KEY_PAUSE_MS = 1;

export interface Contender {
  url: string;
  /** Of ours: the peer knows nobody. */
  token?: string | undefined;
}

export type ClientOrder =
  /** A new terminal prints this file: answered with how long it took, seconds. */
  | { kind: 'print'; contender: Contender; file: string; bytes: number }
  /** A new terminal that is only typed into, kept under this name. */
  | { kind: 'sit'; contender: Contender; name: string }
  /** So many keys there, one after the other: answered with the time of each to its echo, milliseconds. */
  | { kind: 'type'; name: string; keys: number }
  | { kind: 'leave'; name: string };

export type ClientAnswer = { values: number[] } | { error: string };

/** A client that knows how many bytes came, and can wait for them. */
interface Client {
  write(text: string): void;
  /** Resolves when so many bytes came since this was called. */
  bytes(count: number): Promise<void>;
  /** Resolves when this text came. */
  text(wanted: string): Promise<void>;
  close(): void;
}

async function connect({ url, token }: Contender): Promise<Client> {
  const ws = new WebSocket(url, {
    perMessageDeflate: false,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  });
  let total = 0;
  let acked = 0;
  let onData: (data: Buffer) => void = () => undefined;
  const opened = new Promise<void>((resolve, reject) => {
    ws.on('error', reject);
    if (token === undefined) ws.on('open', () => resolve());
    ws.on('message', (data, isBinary) => {
      if (!Buffer.isBuffer(data)) return;
      if (!isBinary && token !== undefined) {
        const frame = JSON.parse(data.toString());
        if (frame.type === 'ready') return resolve();
        if (frame.type === 'error') reject(new Error(JSON.stringify(frame)));
        return;
      }
      total += data.length;
      if (token !== undefined && total - acked >= ACK_EVERY_BYTES) {
        acked = total;
        ws.send(JSON.stringify({ type: 'ack', data: { offset: total } }));
      }
      onData(data);
    });
  });
  await opened;
  return {
    write: (text) => ws.send(Buffer.from(text)),
    bytes: (count) =>
      new Promise((resolve) => {
        const wanted = total + count;
        onData = () => {
          if (total >= wanted) resolve();
        };
      }),
    text: (wanted) =>
      new Promise((resolve) => {
        let seen = '';
        onData = (data) => {
          seen = (seen + data.toString()).slice(-1_000);
          if (seen.includes(wanted)) resolve();
        };
      }),
    close: () => ws.close(),
  };
}

/** Raw mode without echo, so that what is printed is what is counted. */
async function print(contender: Contender, file: string, bytes: number): Promise<number> {
  const client = await connect(contender);
  const ready = client.text('>begin<');
  client.write("stty raw -echo; printf '>%s<' begin; read go\n");
  await ready;
  const done = client.bytes(bytes);
  const start = performance.now();
  client.write(`\ncat ${file}\n`);
  await done;
  const seconds = (performance.now() - start) / 1_000;
  client.close();
  return seconds;
}

/** A program that reads lines and says nothing: what comes back is the kernel's own echo. */
async function sit(contender: Contender): Promise<Client> {
  const client = await connect(contender);
  const ready = client.text('>begin<');
  client.write("printf '>%s<' begin; exec cat > /dev/null\n");
  await ready;
  return client;
}

async function type(client: Client, keys: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < keys; i++) {
    const echoed = client.bytes(1);
    const start = performance.now();
    client.write(i % 50 === 49 ? '\n' : 'x');
    await echoed;
    times.push(performance.now() - start);
    // The newline's echo is two bytes.
    await new Promise((resolve) => setTimeout(resolve, KEY_PAUSE_MS));
  }
  return times;
}

const sitting = new Map<string, Client>();

async function follow(order: ClientOrder): Promise<number[]> {
  switch (order.kind) {
    case 'print':
      return [await print(order.contender, order.file, order.bytes)];
    case 'sit':
      sitting.set(order.name, await sit(order.contender));
      return [];
    case 'type': {
      const client = sitting.get(order.name);
      if (client === undefined) throw new Error(`nobody sits at ${order.name}`);
      return type(client, order.keys);
    }
    case 'leave':
      sitting.get(order.name)?.close();
      sitting.delete(order.name);
      return [];
  }
}

const answer = (what: ClientAnswer): void => void process.send?.(what);
process.on('message', (order: ClientOrder) => {
  follow(order).then(
    (values) => answer({ values }),
    (error: unknown) => answer({ error: String(error) }),
  );
});
process.on('disconnect', () => process.exit());
