/** The saved commands that come with the system: their declarations hold, and the sh ones run here. */
import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { createSavedCommandBodySchema } from '../../contracts/saved-commands.ts';
import { classifyCommand } from '../../domain/danger/classify.ts';
import { contentIssues, settingsOf } from '../../domain/saved-commands/parameters.ts';
import { renderScript } from '../../domain/saved-commands/render.ts';
import { systemCommands } from '../../migrations/system-commands.ts';

/** For parameters that have no default. */
const samples: Readonly<Record<string, string | number>> = {
  name: 'node',
  service: 'cron',
  port: 1,
  path: process.execPath,
};
/** Longest one may take here, milliseconds. */
const MAX_RUN_MS = 20_000;

it('are at least twenty, with PowerShell and sh, and ids of their own', () => {
  expect(systemCommands.length).toBeGreaterThanOrEqual(20);
  expect(new Set(systemCommands.map(({ id }) => id)).size).toBe(systemCommands.length);
  expect(new Set(systemCommands.map(({ name }) => name)).size).toBe(systemCommands.length);
});

describe.each(systemCommands.map((command) => [command.name, command] as const))('%s', (_name, command) => {
  const { id: _id, ...written } = command;
  const content = createSavedCommandBodySchema.parse(written);
  const given = Object.fromEntries(
    content.parameters.flatMap(({ name, required }) => (required ? [[name, samples[name] ?? 'x']] : [])),
  );
  const checked = settingsOf(content, given);
  if ('issues' in checked) throw new Error(JSON.stringify(checked.issues));

  it('is well-formed and only looks', () => {
    expect(contentIssues(content)).toEqual([]);
    // Nothing is read by the migration that the contract would have filled in.
    expect(content.parameters).toEqual(command.parameters);
    for (const [shell, text] of Object.entries(content.scripts)) {
      if (text === undefined) continue;
      expect({ shell, ...classifyCommand({ mode: 'shell', shell, text }) }).not.toMatchObject({
        label: 'dangerous',
      });
    }
  });

  it.each(['sh', 'bash'] as const)('runs in %s', (shell) => {
    const script = renderScript(shell, content.scripts.sh ?? '', checked.settings);
    const done = spawnSync(shell, ['-c', script], {
      cwd: import.meta.dirname,
      encoding: 'utf8',
      timeout: MAX_RUN_MS,
      maxBuffer: 64 * 1024 * 1024,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    expect({ status: done.status, stderr: done.stderr, error: done.error }).toMatchObject({
      status: 0,
      stderr: '',
    });
    expect(done.stdout.length).toBeGreaterThan(
      command.name === 'Who is logged in' || command.name === 'Routes' ? -1 : 0,
    );
  });
});
