import { lookup } from 'node:dns/promises';

/** Every address of a host name. @throws when it has none */
export type Resolve = (hostname: string) => Promise<readonly string[]>;

/**
 * Names asked for at the same time. The system's resolver blocks one of libuv's few threads for as long as a name
 * server is silent, and files need these threads too.
 */
const MAX_PARALLEL_LOOKUPS = 2;
/** More addresses than this are not tried. */
export const MAX_ADDRESSES = 16;

/** The system's: hosts file, then DNS. */
const askSystem = (hostname: string): Promise<{ address: string }[]> =>
  lookup(hostname, { all: true, order: 'verbatim' });

/**
 * A few names at a time, and each of them once: whoever asks for a name that is being asked for gets that answer. So a
 * name that no server answers for holds up one turn, however many requests there are to it, given up or not.
 */
export function createResolver(ask = askSystem): Resolve {
  let running = 0;
  const waiting: (() => void)[] = [];
  const asked = new Map<string, Promise<readonly string[]>>();

  const askInTurn: Resolve = async (hostname) => {
    if (running >= MAX_PARALLEL_LOOKUPS) await new Promise<void>((resolve) => waiting.push(resolve));
    else running++;
    try {
      const found = await ask(hostname);
      return found.map(({ address }) => address);
    } finally {
      // The turn is handed on, or given back.
      const next = waiting.shift();
      if (next === undefined) running--;
      else next();
    }
  };

  return (hostname) => {
    const before = asked.get(hostname);
    if (before !== undefined) return before;
    const answer = askInTurn(hostname).finally(() => asked.delete(hostname));
    asked.set(hostname, answer);
    return answer;
  };
}
