/** How the programs of this installation are started: from source through tsx, or as they were compiled. */
import { createRequire } from 'node:module';
import { extname } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** `.ts` in a checkout, `.js` in a build. */
const extension = extname(import.meta.url);

export type ProgramName = 'api' | 'worker' | 'agent';

/** Command and arguments of a program, for any working directory. */
export function programCommand(name: ProgramName): { command: string; args: string[] } {
  const main = fileURLToPath(new URL(`../${name}/main${extension}`, import.meta.url));
  return { command: process.execPath, args: [...loaderArguments(), main] };
}

function loaderArguments(): string[] {
  if (extension === '.js') return ['--enable-source-maps'];
  // As an address: a bare name would be looked for from the working directory.
  return ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href];
}
