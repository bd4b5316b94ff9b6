/** What the image is built from: `.dockerignore` lets through by name, so a new folder must be named there. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const root = join(import.meta.dirname, '..', '..');
const read = (name: string): string => readFileSync(join(root, name), 'utf8');

it('holds every folder and file that is compiled or copied', () => {
  const { include } = JSON.parse(read('tsconfig.build.json')) as { include: string[] };
  const compiled = include.map((pattern) => pattern.split('/', 1)[0] ?? pattern);
  const allowed = new Set(read('.dockerignore').split('\n'));
  const needed = ['bin', 'build.ts', 'agent-installer', 'agent-python', ...compiled];
  expect(needed.filter((name) => !allowed.has(`!${name}`))).toEqual([]);
});
