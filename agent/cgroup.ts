/**
 * A cgroup (version 2) per command, where this process may make one: the only tree that no process can leave, and
 * `cgroup.kill` ends all of it at once. Where none may be made everything here answers null and the kill rule falls
 * back to process group and environment.
 *
 * A shell moves itself in before it becomes the command (`enteringCgroup`), so nothing it forks is outside. Other
 * programs are moved right after their spawn: what they forked before is outside, so the kill rule always searches by
 * group and environment as well. (The move takes 0.1 to 15 ms in the kernel; the agent never waits for it.)
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface CommandCgroups {
  /** Make the cgroup of a command: the file that takes pids, or null when that failed (the command runs outside). */
  create(commandId: string): string | null;
  /** Pids in the command's cgroup. */
  pids(commandId: string): number[];
  /** Kill everything in it at once. */
  kill(commandId: string): void;
  /** Remove it when empty. One with a background process left in it stays until the agent starts or ends next. */
  remove(commandId: string): void;
  /** Remove all empty ones of this agent. */
  close(): void;
}

/** Directory of this process's own cgroup in the unified hierarchy, or null. */
function findOwnCgroup(): string | null {
  try {
    const mount = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' '))
      .find((fields) => fields[fields.indexOf('-') + 1] === 'cgroup2');
    const own = readFileSync('/proc/self/cgroup', 'utf8')
      .split('\n')
      .find((line) => line.startsWith('0::'));
    const [root, mountPoint] = [mount?.[3], mount?.[4]];
    if (own === undefined || root === undefined || mountPoint === undefined) return null;
    const path = own.slice(3);
    // Inside a container the mount may show only a part of the hierarchy, whose root is `root`.
    const relative = root !== '/' && path.startsWith(root) ? path.slice(root.length) : path;
    return join(mountPoint, relative);
  } catch {
    return null;
  }
}

/** Probe once whether cgroups with `cgroup.kill` can be made; null when not. They are named after the agent's home. */
export function createCommandCgroups(home: string): CommandCgroups | null {
  const own = process.platform === 'linux' ? findOwnCgroup() : null;
  if (own === null) return null;
  const name = createHash('sha256').update(home).digest('hex').slice(0, 16);
  const base = join(own, `steelthread-${name}`);
  try {
    mkdirSync(base, { recursive: true });
    if (!existsSync(join(base, 'cgroup.kill'))) {
      rmdirSync(base);
      return null;
    }
  } catch {
    return null;
  }
  const pathOf = (commandId: string): string => join(base, commandId);
  const attempt = (act: () => void): boolean => {
    try {
      act();
      return true;
    } catch {
      return false;
    }
  };
  const sweep = (): void => {
    attempt(() => {
      for (const item of readdirSync(base, { withFileTypes: true })) {
        if (item.isDirectory()) attempt(() => rmdirSync(join(base, item.name)));
      }
      rmdirSync(base);
    });
  };
  sweep();
  return {
    create: (commandId) =>
      attempt(() => mkdirSync(pathOf(commandId), { recursive: true }))
        ? join(pathOf(commandId), 'cgroup.procs')
        : null,
    pids: (commandId) => {
      try {
        const text = readFileSync(join(pathOf(commandId), 'cgroup.procs'), 'utf8');
        return text.split('\n').filter(Boolean).map(Number);
      } catch {
        return [];
      }
    },
    kill: (commandId) =>
      void (
        existsSync(pathOf(commandId)) &&
        attempt(() => writeFileSync(join(pathOf(commandId), 'cgroup.kill'), '1'))
      ),
    remove: (commandId) => void attempt(() => rmdirSync(pathOf(commandId))),
    close: sweep,
  };
}
