/**
 * A synthetic model provider for measurements: streams as the Messages protocol describes, tokens at a steady pace, each
 * holding the moment it was written (nanoseconds of the machine's monotonic clock, which all processes share).
 * How many and how fast stands in the last message: `tokens=100 everyMs=5`.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

const server = createServer((request, response) => {
  answer(request, response).catch(() => response.destroy());
});

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const wish = /tokens=(\d+) everyMs=(\d+)(?!.*tokens=)/s.exec(Buffer.concat(chunks).toString());
  const [count, everyMs] = [Number(wish?.[1] ?? 10), Number(wish?.[2] ?? 5)];
  const event = (type: string, data: object): void => {
    response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`);
  };
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  const usage = { input_tokens: 100, output_tokens: 1 };
  event('message_start', {
    message: {
      id: 'msg_bench',
      type: 'message',
      role: 'assistant',
      model: 'claude-bench',
      content: [],
      usage,
    },
  });
  event('content_block_start', { index: 0, content_block: { type: 'text', text: '' } });
  // Streams that begin together do not write together.
  await rest(Math.random() * everyMs);
  for (let sent = 0; sent < count && !response.destroyed; sent++) {
    const text = `${process.hrtime.bigint()} `;
    event('content_block_delta', { index: 0, delta: { type: 'text_delta', text } });
    await rest(everyMs);
  }
  event('content_block_stop', { index: 0 });
  event('message_delta', { delta: { stop_reason: 'end_turn' }, usage: { output_tokens: count } });
  event('message_stop', {});
  response.end();
}

const rest = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

server.listen(0, '127.0.0.1');
await once(server, 'listening');
process.on('SIGTERM', () => {
  server.close();
  server.closeAllConnections();
});
console.log(`model_stub_ready 127.0.0.1:${(server.address() as AddressInfo).port}`);
