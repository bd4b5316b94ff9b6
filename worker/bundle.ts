/**
 * The workflow bundle: the one that was built with the program, else one from the cache, else a new one. Bundling takes
 * seconds, so a bundle is kept under the hash of everything that went into it.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode } from '@temporalio/worker';

/** Beside the built worker; written by the build (`build-bundle.ts`), absent where the program runs from source. */
export const prebuiltBundlePath = fileURLToPath(new URL('workflow-bundle.js', import.meta.url));
/** Files outside of `workflows/` that workflow code imports values from. */
const IMPORTED_CONTRACTS = ['workflow-io'];

export interface WorkflowBundle {
  codePath: string;
  source: 'prebuilt' | 'cache' | 'built';
}

interface BundleLog {
  info(fields: { event: string; [field: string]: unknown }): void;
}

/** `.ts` where the program runs from source, `.js` where it was built. */
const extension = extname(import.meta.url);
const root = fileURLToPath(new URL('..', import.meta.url));

/** @throws when the workflows cannot be bundled, with the bundler's message */
export async function findWorkflowBundle(options: {
  cacheDir: string;
  log: BundleLog;
}): Promise<WorkflowBundle> {
  if (existsSync(prebuiltBundlePath)) return { codePath: prebuiltBundlePath, source: 'prebuilt' };

  const folder = join(options.cacheDir, 'workflow-bundles');
  const codePath = join(folder, `${hashSources()}.js`);
  if (existsSync(codePath)) return { codePath, source: 'cache' };

  const startedAt = performance.now();
  const code = await buildWorkflowBundle();
  mkdirSync(folder, { recursive: true });
  const unfinished = `${codePath}.${process.pid}`;
  writeFileSync(unfinished, code);
  renameSync(unfinished, codePath); // another process sees all of it or nothing
  options.log.info({ event: 'workflows_bundled', durationMs: Math.round(performance.now() - startedAt) });
  return { codePath, source: 'built' };
}

/** Code of the bundle, with an inline source map. @throws with the bundler's message */
export async function buildWorkflowBundle(
  workflowsPath = join(root, 'workflows', `index${extension}`),
): Promise<string> {
  const messages: string[] = [];
  const note = (message: string): void => void messages.push(message);
  const logger = { trace: note, debug: note, info: note, warn: note, error: note, log: note };
  try {
    const { code } = await bundleWorkflowCode({
      workflowsPath,
      logger: { ...logger, log: (_level, message) => note(message) },
    });
    return code;
  } catch (cause) {
    throw new Error(`The workflows could not be bundled:\n${messages.join('\n')}`, { cause });
  }
}

function hashSources(): string {
  const hash = createHash('sha256');
  const { version } = createRequire(import.meta.url)('@temporalio/worker/package.json') as {
    version: string;
  };
  hash.update(`${version}\0${root}\0`); // the source map names files
  const workflows = readdirSync(join(root, 'workflows'))
    .filter((name) => name.endsWith(extension))
    .sort()
    .map((name) => join('workflows', name));
  const contracts = IMPORTED_CONTRACTS.map((name) => join('contracts', `${name}${extension}`));
  for (const path of [...workflows, ...contracts]) {
    hash
      .update(`${path}\0`)
      .update(readFileSync(join(root, path)))
      .update('\0');
  }
  return hash.digest('hex').slice(0, 32);
}
