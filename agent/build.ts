/**
 * Builds the agent as one JavaScript file that needs only Node.
 */
import { build, stop } from 'esbuild';

/**
 * Bundle `agent/main.ts` with ws and zod into `outFile` (an ES module; name it `.mjs`).
 * `@temporalio/*` stays outside: it is loaded only for delivery `temporal`, and must be installed beside the file then;
 * so does `node-pty`, which terminals need.
 */
export async function buildAgentBundle(outFile: string): Promise<void> {
  await build({
    entryPoints: [new URL('./main.ts', import.meta.url).pathname],
    outfile: outFile,
    bundle: true,
    platform: 'node',
    target: 'node20.19',
    format: 'esm',
    external: ['@temporalio/*', 'node-pty', 'bufferutil', 'utf-8-validate'],
    // ws is CommonJS and requires node built-ins, which an ES module can only do through createRequire.
    banner: {
      js: "#!/usr/bin/env node\nimport { createRequire } from 'node:module';\nconst require = createRequire(import.meta.url);",
    },
    logLevel: 'silent',
  });
  // esbuild keeps a service process for the next build; nobody here needs one.
  await stop();
}
