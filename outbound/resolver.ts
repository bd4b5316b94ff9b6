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

/** The system's resolver (hosts file, DNS), a few names at a time. */
export function createResolver(): Resolve {
  let running = 0;
  const waiting: (() => void)[] = [];

  return async (hostname) => {
    if (running >= MAX_PARALLEL_LOOKUPS) await new Promise<void>((resolve) => waiting.push(resolve));
    else running++;
    try {
      const found = await lookup(hostname, { all: true, order: 'verbatim' });
      return found.map(({ address }) => address);
    } finally {
      // The turn is handed on, or given back.
      const next = waiting.shift();
      if (next === undefined) running--;
      else next();
    }
  };
}
