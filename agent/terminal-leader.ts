/**
 * Who leads the session of a terminal, and how it is known that the shell has ended.
 *
 * Linux throws away what nobody has read from a PTY yet when the leader of its session ends. So the shell is not the leader
 * but its child: when it has ended, the leader writes a marker with the exit code into the same PTY and waits to be killed.
 * Whoever reads the marker has read all output before it.
 */
import { randomBytes } from 'node:crypto';

/** `$0` is the nonce. INT and QUIT of the keyboard are for the shell; a program in the background must not stop the marker. */
const leaderScript = `trap : INT QUIT; "$@"; c=$?; trap '' TTOU; printf '\\033]5379;%s;%s\\007' "$0" "$c"; exec sleep 3600`;

const ESCAPE = 0x1b;
const BELL = 0x07;

export interface TerminalLeader {
  /** The shell behind its leader. `sh`: path of a POSIX shell. */
  invocation(sh: string, shell: string): { file: string; args: string[] };
  createFilter(): MarkerFilter;
}

export interface MarkerFilter {
  /** Output without the marker, and the exit code that was in it. The beginning of what may be one is held back. */
  push(bytes: Buffer): { bytes: Buffer; exitCode: number | null };
  /** What was held back: nothing comes any more. */
  rest(): Buffer;
}

export function createTerminalLeader(): TerminalLeader {
  // So that no program ends the terminal by accident.
  const nonce = randomBytes(16).toString('hex');
  const begin = Buffer.from(`\x1b]5379;${nonce};`);
  return {
    invocation: (sh, shell) => ({ file: sh, args: ['-c', leaderScript, nonce, shell] }),
    createFilter: () => createMarkerFilter(begin),
  };
}

function createMarkerFilter(begin: Buffer): MarkerFilter {
  const nothing = Buffer.alloc(0);
  let held: Buffer = nothing;

  /** Where bytes begin that may become a marker; the length when none do. */
  const suspectAt = (bytes: Buffer): number => {
    const last = bytes.lastIndexOf(ESCAPE);
    if (last < 0 || bytes.length - last >= begin.length) return bytes.length;
    return begin.subarray(0, bytes.length - last).equals(bytes.subarray(last)) ? last : bytes.length;
  };

  return {
    push(bytes) {
      // Nearly always: one look instead of two.
      if (held.length === 0 && !bytes.includes(ESCAPE)) return { bytes, exitCode: null };
      const all = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
      const at = all.indexOf(begin);
      const end = at < 0 ? -1 : all.indexOf(BELL, at + begin.length);
      if (end >= 0) {
        held = nothing;
        const code = Number(all.toString('latin1', at + begin.length, end));
        const exitCode = Number.isInteger(code) ? code : null;
        return { bytes: Buffer.concat([all.subarray(0, at), all.subarray(end + 1)]), exitCode };
      }
      const cut = at < 0 ? suspectAt(all) : at;
      // A copy: what was given is only good until this returns.
      held = cut === all.length ? nothing : Buffer.from(all.subarray(cut));
      return { bytes: all.subarray(0, cut), exitCode: null };
    },
    rest() {
      const last = held;
      held = nothing;
      return last;
    },
  };
}
