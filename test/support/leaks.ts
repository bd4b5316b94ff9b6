/**
 * After each test file: nothing it opened is left. Sockets, servers, child processes and terminals that were not there
 * at its start fail the file, with a list. What is being closed gets a moment to finish.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { afterAll, beforeAll } from 'vitest';

const SETTLE_TIMEOUT_MS = 3_000;
const POLL_INTERVAL_MS = 25;

/** Kinds of `process.getActiveResourcesInfo()` that hold something open, in words. */
const WATCHED: Record<string, string> = {
  TCPSocketWrap: 'TCP socket (connection or pool not closed)',
  TCPServerWrap: 'TCP server (still listening)',
  TLSWrap: 'TLS connection',
  PipeWrap: 'pipe or unix socket',
  PipeServerWrap: 'unix socket server',
  ProcessWrap: 'child process handle',
  UDPWrap: 'UDP socket',
  FSEventWrap: 'file watcher',
};

type Counts = Map<string, number>;

let before: Counts = new Map();

beforeAll(() => {
  before = countOpenThings();
});

// Registered first, so it runs last: after the hooks of the test file.
afterAll(async () => {
  await closeKeptConnections();
  const deadline = Date.now() + SETTLE_TIMEOUT_MS;
  let leaks = findLeaks();
  while (leaks.length > 0 && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL_MS));
    leaks = findLeaks();
  }
  if (leaks.length > 0)
    throw new Error(`This file left open:\n${leaks.map((leak) => `  - ${leak}`).join('\n')}`);
});

function findLeaks(): string[] {
  return [...countOpenThings()]
    .map(([thing, count]) => ({ thing, extra: count - (before.get(thing) ?? 0) }))
    .filter(({ extra }) => extra > 0)
    .map(({ thing, extra }) => `${extra} × ${thing}`);
}

function countOpenThings(): Counts {
  const kinds = process.getActiveResourcesInfo().flatMap((kind) => WATCHED[kind] ?? []);
  const counts: Counts = new Map();
  for (const thing of [...kinds, ...listChildren(), ...listTerminals()])
    counts.set(thing, (counts.get(thing) ?? 0) + 1);
  return counts;
}

/** Connections that clients of the standard library keep for the next request. */
async function closeKeptConnections(): Promise<void> {
  http.globalAgent.destroy();
  https.globalAgent.destroy();
  const dispatcher: unknown = Reflect.get(globalThis, Symbol.for('undici.globalDispatcher.1'));
  if (isCloseable(dispatcher)) await dispatcher.close();
}

function isCloseable(value: unknown): value is { close(): Promise<void> } {
  return typeof value === 'object' && value !== null && 'close' in value && typeof value.close === 'function';
}

/** Child processes of this one, with their command; empty where there is no /proc. */
function listChildren(): string[] {
  return listFolder('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (Number(parent) !== process.pid || state === 'Z') return [];
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8')
        .replaceAll('\0', ' ')
        .trim()
        .slice(0, 120);
      return [`child process ${name}: ${command}`];
    } catch {
      return []; // It ended while we looked.
    }
  });
}

function listTerminals(): string[] {
  return listFolder('/proc/self/fd').flatMap((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === '/dev/ptmx' ? ['pseudo-terminal'] : [];
    } catch {
      return [];
    }
  });
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
