/** Terminals in bulk: API and agent are processes of their own, so that their memory can be looked at. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TerminalSessionView } from '../../contracts/terminals.ts';
import {
  type AgentPart,
  type ApiPart,
  createInstallation,
  type Installation,
} from '../support/installation.ts';
import { openTerminal, type TestTerminal } from '../support/terminal-client.ts';

const MEBIBYTE = 1024 * 1024;
/** What passes through one terminal. */
const BULK_MEBIBYTES = 200;
const SESSIONS = 50;
/** The most that API and agent may each grow while a reader of 200 MiB stalls; a window is 2 MiB. */
const MAX_GROWTH_MEBIBYTES = 96;

let installation: Installation;
let api: ApiPart;
let agent: AgentPart;
let token: string;
let file: string;
let digest: string;

beforeAll(async () => {
  installation = await createInstallation();
  api = await installation.startApi();
  agent = await installation.startAgent({
    agentId: 'bulk',
    env: { STEELTHREAD_AGENT_TERMINAL: '1', STEELTHREAD_AGENT_TERMINAL_SHELL: 'sh' },
  });
  const login = await installation.call<{ accessToken: string }>('POST', '/v1/auth/login', {
    username: 'admin',
    password: 'Correct-Horse-7',
  });
  token = login.accessToken;
  file = join(installation.home, 'bulk');
  digest = await writeBulk(file);
});
afterAll(() => installation?.close());

/** Numbered lines, so that nothing can be repeated or left out. @returns their digest */
async function writeBulk(path: string): Promise<string> {
  const hash = createHash('sha256');
  const handle = await open(path, 'w');
  for (let part = 0; part < BULK_MEBIBYTES; part++) {
    const first = part * (MEBIBYTE / 64);
    const lines = Array.from(
      { length: MEBIBYTE / 64 },
      (_, at) => `${String(first + at).padStart(63, '.')}\n`,
    );
    const bytes = Buffer.from(lines.join(''));
    hash.update(bytes);
    await handle.write(bytes);
  }
  await handle.close();
  return hash.digest('hex');
}

const terminalOn = (options: Parameters<typeof openTerminal>[1] = {}): TestTerminal =>
  openTerminal({ url: api.url, token: () => token }, { agentId: 'bulk', binary: true, ...options });

const residentMebibytes = ({ pid }: { pid(): number }): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid()}/status`, 'utf8'))?.[1]) / 1024;

/** A terminal that prints the file between two marks; its bytes are hashed as they come. */
function bulkTerminal() {
  const hash = createHash('sha256');
  let text = '';
  let length = 0;
  let isBegun = false;
  const terminal = terminalOn({
    onBytes(bytes) {
      let rest = bytes;
      if (!isBegun) {
        text += bytes.toString('latin1');
        const at = text.indexOf('>begin<');
        if (at < 0) return;
        isBegun = true;
        rest = Buffer.from(text.slice(at + 7), 'latin1');
      }
      const wanted = rest.subarray(0, BULK_MEBIBYTES * MEBIBYTE - length);
      length += wanted.length;
      hash.update(wanted);
    },
  });
  return {
    terminal,
    length: () => length,
    digest: () => hash.digest('hex'),
    async print() {
      await terminal.ready;
      terminal.type(`stty raw -echo; printf '>%s<' begin; cat ${file}; printf '>%s<' end\n`);
    },
  };
}

const untilAllRead = (bulk: { length(): number }) =>
  installation.until(
    async () => bulk.length(),
    (length) => length === BULK_MEBIBYTES * MEBIBYTE,
    'all bytes',
    240_000,
  );

test('200 MiB pass through a terminal, each byte once and in order', async () => {
  const bulk = bulkTerminal();
  await bulk.print();
  const startedAt = performance.now();
  await untilAllRead(bulk);
  const seconds = (performance.now() - startedAt) / 1000;
  process.stdout.write(`terminal: ${(BULK_MEBIBYTES / seconds).toFixed(1)} MiB/s\n`);
  expect(bulk.digest()).toBe(digest);
  await bulk.terminal.close();
});

test('a reader that stalls keeps the memory of API and agent bounded, and then gets everything', async () => {
  const bulk = bulkTerminal();
  await bulk.terminal.ready;
  const before = { api: residentMebibytes(api), agent: residentMebibytes(agent) };
  await bulk.print();
  await installation.until(
    async () => bulk.length(),
    (length) => length > 8 * MEBIBYTE,
    'the first bytes',
  );
  bulk.terminal.ws.pause();
  // Until the program waits: nothing of the file is read any more.
  let position = -1;
  await installation.until(
    async () => {
      const now = await readPosition();
      const isStill = now === position;
      position = now;
      return isStill;
    },
    (isStill) => isStill,
    'the program to wait',
    60_000,
  );
  expect(position).toBeLessThan(BULK_MEBIBYTES * MEBIBYTE);
  const growth = {
    api: residentMebibytes(api) - before.api,
    agent: residentMebibytes(agent) - before.agent,
  };
  process.stdout.write(`stalled reader: growth ${JSON.stringify(growth)} MiB\n`);
  expect(growth.api).toBeLessThan(MAX_GROWTH_MEBIBYTES);
  expect(growth.agent).toBeLessThan(MAX_GROWTH_MEBIBYTES);
  bulk.terminal.ws.resume();
  await untilAllRead(bulk);
  expect(bulk.digest()).toBe(digest);
  await bulk.terminal.close();
});

/** How far `cat` is in the file; its own processes tell. */
async function readPosition(): Promise<number> {
  const { readdirSync, readlinkSync } = await import('node:fs');
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      for (const fd of readdirSync(`/proc/${pid}/fd`)) {
        if (readlinkSync(`/proc/${pid}/fd/${fd}`) !== file) continue;
        return Number(/pos:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1]);
      }
    } catch {
      // Gone meanwhile.
    }
  }
  return -2;
}

test(`${SESSIONS} terminals at once each have their own bytes, and none is left`, async () => {
  const terminals = Array.from({ length: SESSIONS }, () => terminalOn());
  await Promise.all(terminals.map((terminal) => terminal.ready));
  expect(new Set(terminals.map((terminal) => terminal.sessionId())).size).toBe(SESSIONS);
  await Promise.all(
    terminals.map(async (terminal, at) => {
      terminal.type(
        `stty raw -echo; printf '>%s<' begin; yes mine-${at} | head -n 40000; printf '>%s<' end\n`,
      );
      await installation.until(
        async () => terminal.output().subarray(-200).includes('>end<'),
        (isOver) => isOver,
        `terminal ${at}`,
        240_000,
      );
      const text = terminal.output().toString();
      const got = text.slice(text.indexOf('>begin<') + 7, text.indexOf('>end<'));
      expect(got).toBe(`mine-${at}\n`.repeat(40_000));
      terminal.type('exit\n');
      await terminal.closed;
    }),
  );
  const { items } = await installation.call<{ items: TerminalSessionView[] }>(
    'GET',
    `/v1/terminal/sessions?limit=${SESSIONS}`,
  );
  expect(items.map(({ state, survivors }) => [state, survivors])).toEqual(items.map(() => ['ended', 0]));
});
