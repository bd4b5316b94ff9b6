/** Reads server-sent events (HTML standard, section 9.2) from the body of a reply. */

export interface ServerEvent {
  /** Of this event or the newest before it that had one; null before the first. */
  id: string | null;
  /** `message` unless the server names another. */
  event: string;
  data: string;
}

/** Events in order; comments and events without data are left out. Ends with the body. */
export async function* readServerEvents(
  body: AsyncIterable<Uint8Array> | null,
): AsyncGenerator<ServerEvent, void, void> {
  let id: string | null = null;
  let event = '';
  let data: string[] = [];
  for await (const line of readLines(body)) {
    if (line === '') {
      if (data.length > 0) yield { id, event: event === '' ? 'message' : event, data: data.join('\n') };
      event = '';
      data = [];
      continue;
    }
    const colon = line.indexOf(':');
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'data') data.push(value);
    else if (field === 'event') event = value;
    else if (field === 'id' && !value.includes('\0')) id = value;
  }
}

/** Lines without their ends: LF, CR LF or CR. An unfinished last line is no event and is dropped. */
async function* readLines(body: AsyncIterable<Uint8Array> | null): AsyncGenerator<string, void, void> {
  if (body === null) return;
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true });
    // A CR at the very end may be half of a CR LF: it waits for the next chunk.
    for (let match = /\r\n|\n|\r(?!$)/.exec(rest); match !== null; match = /\r\n|\n|\r(?!$)/.exec(rest)) {
      yield rest.slice(0, match.index);
      rest = rest.slice(match.index + match[0].length);
    }
  }
}
