/** A server that takes webhooks: remembers what came and answers as it is told. */
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Taken {
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
  /** What it was answered. */
  status: number;
}

type StatusOf = (request: Omit<Taken, 'status'>) => number | Promise<number>;

export interface WebhookReceiver {
  url: string;
  taken: Taken[];
  /** What was answered 2xx, parsed. */
  accepted<T = Record<string, unknown>>(): T[];
  /** Status of the next answers; default 204. May look at the request, and hold it. */
  answer(with_: number | StatusOf): void;
  close(): Promise<void>;
}

export async function startWebhookReceiver(): Promise<WebhookReceiver> {
  const taken: Taken[] = [];
  let statusOf: StatusOf = () => 204;
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const seen = {
      path: request.url ?? '',
      headers: request.headers,
      body: Buffer.concat(chunks).toString(),
    };
    const status = await statusOf(seen);
    taken.push({ ...seen, status });
    response
      .writeHead(status, { 'content-type': 'text/plain' })
      .end(status < 300 ? undefined : 'not now\u0000');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/hook`,
    taken,
    accepted: <T>() => taken.filter(({ status }) => status < 300).map(({ body }) => JSON.parse(body) as T),
    answer(with_) {
      statusOf = typeof with_ === 'number' ? () => with_ : with_;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
