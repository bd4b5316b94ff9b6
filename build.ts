/**
 * Builds `dist/`, the program that runs without sources and development dependencies:
 *
 *   npm run build     everything
 *   npm run bundle    only the workflow bundle and the agent file, which proves that they can be bundled
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildAgentBundle } from './agent/build.ts';
import { buildWorkflowBundle } from './worker/bundle.ts';

const root = fileURLToPath(new URL('.', import.meta.url));
const dist = join(root, 'dist');
const require = createRequire(import.meta.url);

/** What the documentation pages load; `api/docs-pages.ts` looks for them under these names. */
const pageAssets: Record<string, string> = {
  'swagger-ui.css': 'swagger-ui-dist/swagger-ui.css',
  'swagger-ui.js': 'swagger-ui-dist/swagger-ui-bundle.js',
  'redoc.js': 'redoc/bundles/redoc.standalone.js',
};

const isWhole = !process.argv.includes('--bundles');
if (isWhole) {
  rmSync(dist, { recursive: true, force: true });
  await step('compiled', compile);
  await step('copied bin, package.json, page assets and installer files', copyFiles);
}
await step('workflow bundle', async () => {
  mkdirSync(join(dist, 'worker'), { recursive: true });
  writeFileSync(join(dist, 'worker', 'workflow-bundle.js'), await buildWorkflowBundle());
  return join(dist, 'worker', 'workflow-bundle.js');
});
await step('agent file', async () => {
  const file = join(dist, 'steelthread-agent.mjs');
  await buildAgentBundle(file);
  return file;
});

async function step(
  name: string,
  run: () => Promise<string | undefined> | string | undefined,
): Promise<void> {
  const startedAt = Date.now();
  const file = await run();
  const size =
    file === undefined ? '' : ` ${relative(root, file)}, ${Math.round(statSync(file).size / 1024)} KiB,`;
  process.stdout.write(`${name}:${size} ${((Date.now() - startedAt) / 1000).toFixed(1)} s\n`);
}

function compile(): undefined {
  const tsc = join(root, 'node_modules', '.bin', process.platform === 'win32' ? 'tsc.cmd' : 'tsc');
  const { status, error } = spawnSync(tsc, ['-p', join(root, 'tsconfig.build.json')], { stdio: 'inherit' });
  if (status !== 0) throw new Error('The sources do not compile', { cause: error });
}

function copyFiles(): undefined {
  cpSync(join(root, 'bin'), join(dist, 'bin'), { recursive: true });
  copyFileSync(join(root, 'package.json'), join(dist, 'package.json'));
  for (const folder of ['agent-installer', 'agent-python']) {
    cpSync(join(root, folder), join(dist, folder), { recursive: true });
  }
  const assets = join(dist, 'api', 'assets');
  mkdirSync(assets, { recursive: true });
  for (const [name, specifier] of Object.entries(pageAssets)) {
    copyFileSync(require.resolve(specifier), join(assets, name));
  }
}
