/** A client of an event stream: events as they come, resumable. */
export interface ServerSentEvent {
  id: string | null;
  event: string | null;
  data: unknown;
}

export interface EventReader {
  /** Everything received so far. */
  events: ServerSentEvent[];
  /** Resolves when the server has ended the stream. */
  ended: Promise<void>;
  close(): void;
}

/** @throws when the answer is not an event stream */
export async function readEventStream(url: string, headers: Record<string, string>): Promise<EventReader> {
  const controller = new AbortController();
  const reply = await fetch(url, {
    headers: { accept: 'text/event-stream', ...headers },
    signal: controller.signal,
  });
  if (reply.status !== 200 || reply.body === null) throw new Error(`the stream answered ${reply.status}`);
  const events: ServerSentEvent[] = [];
  const { body } = reply;
  const read = async (): Promise<void> => {
    let text = '';
    const decoder = new TextDecoder();
    for await (const part of body) {
      text += decoder.decode(part, { stream: true });
      const blocks = text.split('\n\n');
      text = blocks.pop() ?? '';
      for (const block of blocks) {
        const event = parseBlock(block);
        if (event !== undefined) events.push(event);
      }
    }
  };
  const ended = read().catch((error: unknown) => {
    if (!controller.signal.aborted) throw error;
  });
  ended.catch(() => {});
  return { events, ended, close: () => controller.abort() };
}

function parseBlock(block: string): ServerSentEvent | undefined {
  const fields = new Map<string, string>();
  for (const line of block.split('\n')) {
    const [, name = '', value = ''] = /^([^:]*): ?(.*)$/.exec(line) ?? [];
    if (name !== '') fields.set(name, fields.has(name) ? `${fields.get(name)}\n${value}` : value);
  }
  const data = fields.get('data');
  if (data === undefined) return undefined;
  return { id: fields.get('id') ?? null, event: fields.get('event') ?? null, data: JSON.parse(data) };
}
