/** Shows the output of a command line by line while it comes. */

import type { ApiClient } from '../../client/api-client.ts';
import { followOutputRoute, type OutputEnd, type OutputEvent } from '../../contracts/command-routes.ts';
import type { Console } from '../console.ts';
import { CommandError } from '../exit-codes.ts';
import { printable } from './printable.ts';

/** Lines shown of one command; all of its output is in the ledger. */
const MAX_SHOWN_LINES = 40;

type StreamName = OutputEvent['stream'];

/** @returns how the command ended @throws CommandError when that was not told within `timeoutMs` */
export async function followOutput(
  { api, out }: { api: ApiClient; out: Console },
  commandId: string,
  { signal, timeoutMs }: { signal: AbortSignal; timeoutMs: number },
): Promise<OutputEnd> {
  const printer = createLinePrinter(out);
  let lastEventId: string | undefined;
  const deadline = AbortSignal.timeout(timeoutMs);
  while (!deadline.aborted) {
    signal.throwIfAborted();
    // A stream that is cut off goes on where it stopped.
    const stream = api.stream(followOutputRoute, {
      params: { commandId },
      lastEventId,
      signal: AbortSignal.any([signal, deadline]),
    });
    for await (const { id, data } of stream) {
      lastEventId = id ?? lastEventId;
      if ('stream' in data) printer.write(data.stream, Buffer.from(data.bytes, 'base64'));
      else {
        printer.end();
        return data;
      }
    }
  }
  signal.throwIfAborted();
  throw new CommandError(`Command ${commandId} did not end within ${timeoutMs / 1000} s.`);
}

function createLinePrinter(out: Console) {
  const parts = { stdout: createPart(), stderr: createPart() };
  let count = 0;

  function show(stream: StreamName, line: string): void {
    count += 1;
    if (count > MAX_SHOWN_LINES) return;
    const text = printable(line);
    out.print(`    ${out.style('dim', '│')} ${stream === 'stderr' ? out.style('red', text) : text}`);
  }
  return {
    write(stream: StreamName, bytes: Uint8Array) {
      const part = parts[stream];
      part.rest += part.decoder.decode(bytes, { stream: true });
      const lines = part.rest.split('\n');
      part.rest = lines.pop() ?? '';
      for (const line of lines) show(stream, line);
    },
    end() {
      for (const stream of ['stdout', 'stderr'] as const) {
        const rest = parts[stream].rest + parts[stream].decoder.decode();
        if (rest !== '') show(stream, rest);
      }
      if (count > MAX_SHOWN_LINES)
        out.print(`    ${out.style('dim', `│ … ${count - MAX_SHOWN_LINES} more lines`)}`);
    },
  };
}

function createPart() {
  return { decoder: new TextDecoder(), rest: '' };
}
