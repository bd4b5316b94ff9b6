/** What agents of the dialects can be told, and what not (invariant I of legacy-socket.ts). */
import { type Act, actDigest } from '../../contracts/act.ts';
import type { Hello, RunFrame } from '../../contracts/agent-protocol.ts';

/** Why these agents cannot run this act as it was decided, or undefined when they can. */
export function unfitness(
  { act, binding, digest }: RunFrame,
  hello: Hello,
  mayElevate: boolean,
): string | undefined {
  if (actDigest(act, binding) !== digest) return 'digest_mismatch';
  if (act.mode !== 'shell') return 'argv_not_available';
  if (!hello.shells.includes(act.shell)) return 'shell_not_found';
  if (act.elevated && !mayElevate) return 'elevation_not_available';
  return untellable(act);
}

/** No frame of a dialect has a place for these. */
function untellable(act: Act): string | undefined {
  if (act.user !== null) return 'run_as_not_available';
  if (act.stdin !== null) return 'stdin_not_available';
  if (Object.keys(act.environment).length > 0) return 'environment_not_available';
  return undefined;
}
