/**
 * Folders to build in: gigabytes that nobody needs once the program is there, and that take most of a minute to delete.
 * So a process of its own deletes them, which neither the start nor the end of this process waits for. What is left of
 * one (the machine was switched off) is deleted by the next start.
 *
 * A. Whoever calls holds the lock of the folder they are in, so those that are found are nobody's.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';

const PREFIX = 'temporal-cli-work-';

/** Waits for nothing and nobody: its own session, so Ctrl-C does not reach it; least priority, so the start goes first. */
const REMOVE_SCRIPT = `
require('node:os').setPriority(19);
require('node:fs').rmSync(process.argv[1], { recursive: true, force: true, maxRetries: 5 });
`;

/** A name for a new one; it is not made yet. */
export function nameWorkFolder(parent: string): string {
  return join(parent, `${PREFIX}${process.pid}-${randomBytes(4).toString('hex')}`);
}

export function findWorkFolders(parent: string): string[] {
  try {
    return readdirSync(parent)
      .filter((name) => name.startsWith(PREFIX))
      .map((name) => join(parent, name));
  } catch {
    return [];
  }
}

/** Returns at once; the folder is gone some time later, whatever becomes of this process. */
export function removeInBackground(folder: string, env: Record<string, string>): void {
  const child = spawn(process.execPath, ['-e', REMOVE_SCRIPT, folder], {
    cwd: dirname(folder),
    env,
    detached: true,
    stdio: 'ignore',
  });
  child.once('error', () => {}); // The next start finds the folder.
  child.unref();
}
