/** The floor that lists are measured against answers what the product answers, whatever fields it has got since. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { compareBodies } from '../../bench/lists.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const root = join(import.meta.dirname, '..', '..');
let system: System;

beforeAll(async () => {
  system = await startSystem({ worker: false });
});
afterAll(() => system.close());

it('the same tasks with the same fields', async () => {
  for (const goal of ['one', 'two', 'three'])
    await deskOf(system).create({ title: goal, goal, mode: 'manual' });
  const program = ['--import', 'tsx', join(root, 'bench', 'processes', 'list-peer.ts')];
  const peer = spawn(process.execPath, program, {
    cwd: root,
    env: { PATH: process.env.PATH, DATABASE_URL: system.database.url },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [line] = (await once(createInterface({ input: peer.stdout }), 'line')) as [string];
    const read = async (url: string, headers = {}): Promise<Buffer> =>
      Buffer.from(await (await fetch(url, { headers })).arrayBuffer());
    const authorization = `Bearer ${system.token()}`;
    const sizes = await compareBodies('first', {
      ours: () => read(`${system.url}/v1/tasks?limit=2`, { authorization }),
      peer: () => read(`http://${line.split(' ')[1]}/?limit=2`),
    });
    expect(sizes.ours).toBeGreaterThan(1_000);
  } finally {
    const ended = once(peer, 'exit');
    peer.kill('SIGTERM');
    await ended;
  }
});
