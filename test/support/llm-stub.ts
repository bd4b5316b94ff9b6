import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { z } from 'zod';
import { type StreamScript, writeStream } from './llm-stream.ts';

/**
 * A server on a real socket that speaks the Messages protocol from a script; streaming where the answer is a `stream`
 * (see llm-stream.ts). Each request takes the next scripted answer; a request with nothing scripted gets a 500 that says so.
 */

export type StubAnswer =
  | {
      type: 'command';
      command: string;
      shell?: string | null;
      reason?: string;
      expectedEffect?: string;
      usage?: StubTokens;
    }
  | { type: 'done'; success?: boolean; summary?: string; usage?: StubTokens }
  | { type: 'rate-limited'; retryAfter?: string }
  | { type: 'overloaded' }
  | { type: 'refusal' }
  /** Never answers; ends when the client goes away or the stub closes. */
  | { type: 'hang' }
  /** Sends headers and half a body, then nothing. */
  | { type: 'hang-in-body' }
  /** A 200 that claims to be JSON and is not. */
  | { type: 'bad-json' }
  /** A tool call with this input as it is. */
  | { type: 'tool-input'; name?: string; input: unknown }
  /** Prose, no tool call. */
  | { type: 'text'; text: string }
  /** Cut off by the token limit. */
  | { type: 'max-tokens' }
  | { type: 'status'; status: number; errorType?: string; message?: string }
  /** Drops the connection before it answers. */
  | { type: 'reset' }
  /** Only to a request that asks for a stream, as every other successful answer only to one that does not. */
  | ({ type: 'stream' } & StreamScript);

export interface StubTokens {
  input: number;
  output: number;
}

export type StubScript = StubAnswer | ((body: StubRequestBody) => StubAnswer);

const requestBodySchema = z.object({
  model: z.string().min(1),
  max_tokens: z.number().int().positive(),
  system: z.string().min(1),
  temperature: z.number().min(0).max(1).optional(),
  messages: z.array(z.object({ role: z.enum(['user', 'assistant']), content: z.string().min(1) })).min(1),
  tools: z
    .array(
      z.object({
        name: z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/),
        description: z.string(),
        input_schema: z.looseObject({ type: z.literal('object') }),
      }),
    )
    .optional(),
  tool_choice: z
    .object({
      type: z.enum(['auto', 'any', 'tool', 'none']),
      name: z.string().optional(),
      disable_parallel_tool_use: z.boolean().optional(),
    })
    .optional(),
  stream: z.boolean().optional(),
});

export type StubRequestBody = z.infer<typeof requestBodySchema>;

export interface StubRequest {
  headers: Record<string, string | string[] | undefined>;
  body: StubRequestBody;
  /** The client's: the same while it keeps its connection. */
  port: number | undefined;
}

export interface LlmStub {
  /** Give it to the port as `baseUrl`. */
  url: string;
  /** Valid requests, oldest first. */
  requests: readonly StubRequest[];
  /** What was wrong with refused requests. */
  violations: readonly string[];
  /** Appends answers to the script. */
  enqueue(...answers: StubScript[]): void;
  /** Forgets what is left of the script. */
  drop(): void;
  /** Resolves when this many valid requests have arrived. */
  waitForRequests(count: number): Promise<void>;
  /** Resolves when this many clients have gone before their answer was whole. */
  waitForHangUps(count: number): Promise<void>;
  close(): Promise<void>;
}

export interface LlmStubOptions {
  /** The only key that is accepted. Default `test-key`. */
  apiKey?: string;
  script?: readonly StubScript[];
}

const defaultTokens: StubTokens = { input: 100, output: 20 };

export async function startLlmStub({
  apiKey = 'test-key',
  script = [],
}: LlmStubOptions = {}): Promise<LlmStub> {
  const queue: StubScript[] = [...script];
  const requests: StubRequest[] = [];
  const violations: string[] = [];
  const hangUps = createCounter();
  const arrivals = createCounter();

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const text = await readBody(request);
    if (readKey(request) !== apiKey)
      return sendError(response, 401, 'authentication_error', 'invalid x-api-key');
    const body = readRequest(request, text);
    if (typeof body === 'string') {
      violations.push(body);
      return sendError(response, 400, 'invalid_request_error', body);
    }
    requests.push({ headers: request.headers, body, port: request.socket.remotePort });
    arrivals.add();
    response.once('close', () => {
      if (!response.writableFinished) hangUps.add();
    });
    const next = queue.shift();
    if (next === undefined)
      return sendError(response, 500, 'api_error', 'the stub has no scripted answer left');
    await send(request, response, body, typeof next === 'function' ? next(body) : next);
  }

  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      violations.push(String(error));
      response.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;

  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    violations,
    enqueue: (...answers) => void queue.push(...answers),
    drop: () => void queue.splice(0),
    waitForRequests: arrivals.reach,
    waitForHangUps: hangUps.reach,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function createCounter() {
  const waiters: { count: number; resolve: () => void }[] = [];
  let current = 0;
  return {
    add(): void {
      current += 1;
      for (const waiter of waiters) if (current >= waiter.count) waiter.resolve();
    },
    reach: (count: number): Promise<void> =>
      new Promise((resolve) => {
        if (current >= count) resolve();
        else waiters.push({ count, resolve });
      }),
  };
}

/** The provider takes the key in either header; SDK versions differ in which they send. */
function readKey(request: IncomingMessage): string | undefined {
  const key = request.headers['x-api-key'];
  if (typeof key === 'string') return key;
  return request.headers.authorization?.replace(/^Bearer /, '');
}

/** The parsed body, or what is wrong with the request. */
function readRequest(request: IncomingMessage, text: string): StubRequestBody | string {
  if (request.method !== 'POST' || request.url !== '/v1/messages')
    return `no such route: ${request.method} ${request.url}`;
  if (!/^\d{4}-\d\d-\d\d$/.test(String(request.headers['anthropic-version'])))
    return 'anthropic-version is missing';
  if (!request.headers['content-type']?.startsWith('application/json')) return 'content-type is not JSON';
  try {
    const parsed = requestBodySchema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : z.prettifyError(parsed.error);
  } catch {
    return 'the body is not JSON';
  }
}

async function send(
  request: IncomingMessage,
  response: ServerResponse,
  body: StubRequestBody,
  answer: StubAnswer,
): Promise<void> {
  if (answer.type === 'stream') {
    if (body.stream !== true) throw new Error('a stream is scripted for a request that asks for none');
    return writeStream(response, body.model, answer);
  }
  const reply = (content: unknown[], stopReason: string, tokens: StubTokens = defaultTokens) =>
    sendJson(response, 200, {
      id: 'msg_stub',
      type: 'message',
      role: 'assistant',
      model: body.model,
      content,
      stop_reason: stopReason,
      stop_sequence: null,
      usage: { input_tokens: tokens.input, output_tokens: tokens.output },
    });
  const callTool = (name: string, input: unknown, tokens?: StubTokens) =>
    reply([{ type: 'tool_use', id: 'toolu_stub', name, input }], 'tool_use', tokens);

  switch (answer.type) {
    case 'command': {
      const { command, shell, reason = 'because', expectedEffect = 'prints something' } = answer;
      const input = {
        command,
        ...(shell === undefined ? {} : { shell }),
        reason,
        expected_effect: expectedEffect,
      };
      return callTool('propose_command', input, answer.usage);
    }
    case 'done':
      return callTool(
        'task_done',
        { success: answer.success ?? true, summary: answer.summary ?? 'done' },
        answer.usage,
      );
    case 'tool-input':
      return callTool(answer.name ?? 'propose_command', answer.input);
    case 'text':
      return reply([{ type: 'text', text: answer.text }], 'end_turn');
    case 'max-tokens':
      return reply([{ type: 'tool_use', id: 'toolu_stub', name: 'task_done', input: {} }], 'max_tokens');
    case 'refusal':
      return reply([], 'refusal', { input: 100, output: 1 });
    case 'rate-limited':
      if (answer.retryAfter !== undefined) response.setHeader('retry-after', answer.retryAfter);
      return sendError(response, 429, 'rate_limit_error', 'slow down');
    case 'overloaded':
      return sendError(response, 529, 'overloaded_error', 'Overloaded');
    case 'status':
      return sendError(
        response,
        answer.status,
        answer.errorType ?? 'api_error',
        answer.message ?? 'scripted',
      );
    case 'bad-json':
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end('{"id": "msg_stub", "content": [');
      return;
    case 'hang-in-body':
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write('{"id": "msg_stub", ');
      return;
    case 'hang':
      return;
    case 'reset':
      request.socket.resetAndDestroy();
      return;
  }
}

function sendError(response: ServerResponse, status: number, type: string, message: string): void {
  sendJson(response, status, { type: 'error', error: { type, message } });
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', 'request-id': 'req_stub' });
  response.end(JSON.stringify(body));
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}
