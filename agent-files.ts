/**
 * The files an installer package is made of, for the composition root of the API: the agent program, and the scripts
 * of `agent-installer/`. They lie beside this file, in the sources and in `dist/` alike; only the bundled JavaScript
 * agent is made on first use where there is no build.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AgentFile, AgentKind } from './domain/installer/port.ts';

const here = fileURLToPath(new URL('.', import.meta.url));

/** Reads each kind once. @throws when a file is missing, or there is neither a built agent nor what builds it */
export function createAgentFiles(): (kind: AgentKind) => Promise<readonly AgentFile[]> {
  const known = new Map<AgentKind, Promise<readonly AgentFile[]>>();
  return (kind) => {
    const files = known.get(kind) ?? readFiles(kind);
    known.set(kind, files);
    // A failure is not remembered.
    files.catch(() => known.delete(kind));
    return files;
  };
}

async function readFiles(kind: AgentKind): Promise<AgentFile[]> {
  const program: AgentFile =
    kind === 'python'
      ? {
          name: 'steelthread_agent.py',
          bytes: await readFile(join(here, 'agent-python', 'steelthread_agent.py')),
          isExecutable: true,
        }
      : { name: 'steelthread-agent.mjs', bytes: await readBundle(), isExecutable: true };
  const folder = join(here, 'agent-installer');
  const names = (await readdir(folder)).sort();
  const scripts = names.map(async (name) => {
    const bytes = await readFile(join(folder, name));
    return { name, bytes, isExecutable: name.endsWith('.sh') };
  });
  return [program, ...(await Promise.all(scripts))];
}

async function readBundle(): Promise<Buffer> {
  const built = join(here, 'steelthread-agent.mjs');
  if (existsSync(built)) return readFile(built);
  // Not named in an import that the compiler sees: the builder is no part of a build.
  const builder: string = new URL('./agent/build.ts', import.meta.url).href;
  const { buildAgentBundle } = (await import(builder)) as {
    buildAgentBundle: (outFile: string) => Promise<void>;
  };
  const folder = await mkdtemp(join(tmpdir(), 'steelthread-agent-bundle-'));
  try {
    const file = join(folder, 'steelthread-agent.mjs');
    await buildAgentBundle(file);
    return await readFile(file);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
