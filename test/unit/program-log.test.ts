/** The log of a program whose disk is full. */
import { mkdtempSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it, vi } from 'vitest';
import { openProgramLog } from '../../stack/program-log.ts';

vi.mock('node:fs', async (importOriginal) => {
  const fs = await importOriginal<typeof import('node:fs')>();
  return { ...fs, writeSync: vi.fn(fs.writeSync) };
});

const folder = mkdtempSync(join(tmpdir(), 'steelthread-program-log-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('goes on, says so once, and says what is missing when there is room again', () => {
  const problems: string[] = [];
  const file = join(folder, 'api.log');
  const log = openProgramLog({ file, onProblem: (line) => problems.push(line) });
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  log.onLine('{"level":"info","event":"before"}');
  for (const line of ['{"level":"info","event":"lost"}', 'Error: crash']) {
    vi.mocked(writeSync).mockImplementationOnce(() => {
      throw full;
    });
    log.onLine(line);
  }
  expect(problems).toEqual([`${file} cannot be written: ${full.message}`, 'Error: crash']);
  expect(log.tail()).toContain('Error: crash');
  log.onLine('{"level":"info","event":"after"}');
  log.close();
  expect(readFileSync(file, 'utf8').split('\n')).toEqual([
    '{"level":"info","event":"before"}',
    '',
    '(2 lines could not be written)',
    '{"level":"info","event":"after"}',
    '',
  ]);
});
