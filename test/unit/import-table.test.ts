/** The import table of the README: what lint refuses for each folder, and what it lets through. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..', '..');
const biome = join(root, 'node_modules', '.bin', 'biome');

interface Row {
  /** A file of the folder. */
  file: string;
  may: string[];
  never: string[];
}

const everyProgram = ["'../api/app.ts'", "'../worker/main.ts'", "'../test/support/http.ts'"];

const rows: Row[] = [
  {
    file: 'contracts/zz.ts',
    may: ["'zod'", "'./errors.ts'"],
    never: ["'knex'", "'../db/tasks.ts'", "'../domain/policy.ts'", "'../config.ts'", ...everyProgram],
  },
  {
    file: 'workflows/zz.ts',
    may: ["'@temporalio/workflow'", "'./messages.ts'", "'../contracts/workflow-io.ts'"],
    never: [
      "'node:fs'",
      "'node:timers/promises'",
      "'zod'",
      "'../db/tasks.ts'",
      "'../domain/policy.ts'",
      // Types are another matter; see below.
      "'../contracts/tasks.ts'",
      "'../activities/index.ts'",
      ...everyProgram,
    ],
  },
  {
    file: 'activities/zz.ts',
    may: [
      "'@temporalio/activity'",
      "'../contracts/tasks.ts'",
      "'../domain/policy.ts'",
      "'../db/tasks.ts'",
      "'../llm/port.ts'",
    ],
    never: ["'../workflows/task.ts'", "'../config.ts'", "'koa'", "'../stack/ports.ts'", ...everyProgram],
  },
  {
    file: 'domain/tasks/zz.ts',
    may: [
      "'../../contracts/tasks.ts'",
      "'../../db/tasks.ts'",
      "'../policy.ts'",
      "'../../llm/port.ts'",
      "'../../llm/chat-port.ts'",
      "'../../outbound/port.ts'",
      "'node:crypto'",
    ],
    never: [
      "'koa'",
      "'ws'",
      "'node:http'",
      "'@temporalio/client'",
      "'../../llm/anthropic.ts'",
      "'../../outbound/outbound.ts'",
      "'../../temporal/connection.ts'",
      "'../../config.ts'",
      "'../../api/app.ts'",
      "'../../worker/main.ts'",
    ],
  },
  {
    file: 'db/zz.ts',
    may: ["'knex'", "'pg'", "'../contracts/tasks.ts'", "'../migrations/index.ts'"],
    never: ["'../domain/policy.ts'", "'koa'", "'../config.ts'", "'../temporal/options.ts'", ...everyProgram],
  },
  {
    file: 'migrations/zz.ts',
    may: ["'./migration.ts'"],
    never: ["'../db/tasks.ts'", "'../contracts/tasks.ts'", "'zod'"],
  },
  {
    file: 'api/zz.ts',
    may: [
      "'koa'",
      "'../contracts/tasks.ts'",
      "'../domain/policy.ts'",
      "'../workflows/messages.ts'",
      "'../config.ts'",
    ],
    never: [
      "'knex'",
      "'pg'",
      "'@temporalio/client'",
      "'../core/core.ts'",
      "'../db/tasks.ts'",
      "'../activities/index.ts'",
      "'../worker/main.ts'",
      "'../workflows/task.ts'",
      "'../agent/agent.ts'",
      "'../stack/postgres.ts'",
      "'../cli/main.ts'",
      "'../test/support/http.ts'",
    ],
  },
  {
    file: 'api/bridge/zz.ts',
    may: ["'../../db/commands.ts'", "'../../domain/policy.ts'", "'../context.ts'"],
    never: [
      "'knex'",
      "'../../core/core.ts'",
      "'../../worker/main.ts'",
      "'../../workflows/task.ts'",
      "'../../activities/index.ts'",
    ],
  },
  {
    file: 'api/routes/v1/zz.ts',
    may: ["'../../../contracts/tasks.ts'", "'../../../domain/policy.ts'", "'../../mount.ts'"],
    never: [
      "'../../../db/tasks.ts'",
      "'knex'",
      "'../../../temporal/connection.ts'",
      "'../../../outbound/outbound.ts'",
      "'../../../config.ts'",
    ],
  },
  {
    file: 'api/server.ts',
    may: ["'../core/core.ts'", "'../db/tasks.ts'", "'../domain/policy.ts'"],
    never: ["'../worker/main.ts'", "'../activities/index.ts'", "'knex'"],
  },
  {
    file: 'core/zz.ts',
    may: [
      "'../config.ts'",
      "'../db/database.ts'",
      "'../domain/deps.ts'",
      "'../llm/live.ts'",
      "'../outbound/outbound.ts'",
      "'./core.ts'",
    ],
    never: ["'koa'", "'@temporalio/client'", "'../activities/index.ts'", ...everyProgram],
  },
  {
    file: 'agent/zz.ts',
    may: ["'ws'", "'node:fs'", "'../contracts/agent-protocol.ts'", "'./journal.ts'"],
    never: [
      "'../contracts/tasks.ts'",
      "'../db/tasks.ts'",
      "'../domain/policy.ts'",
      "'../config.ts'",
      "'@temporalio/worker'",
      ...everyProgram,
    ],
  },
  {
    file: 'agent/transports/zz.ts',
    may: ["'@temporalio/worker'", "'../../contracts/agent-protocol.ts'", "'../link.ts'"],
    never: ["'../../db/tasks.ts'", "'../../worker/main.ts'"],
  },
  {
    file: 'worker/zz.ts',
    may: [
      "'../activities/index.ts'",
      "'../core/core.ts'",
      "'../domain/policy.ts'",
      "'../db/tasks.ts'",
      "'../config.ts'",
      "'@temporalio/worker'",
    ],
    never: ["'../api/app.ts'", "'../agent/agent.ts'", "'../stack/ports.ts'", "'../cli/main.ts'", "'koa'"],
  },
  {
    file: 'llm/zz.ts',
    may: ["'@anthropic-ai/sdk'", "'../contracts/tasks.ts'", "'./port.ts'"],
    never: ["'../db/tasks.ts'", "'../domain/policy.ts'", "'../config.ts'", ...everyProgram],
  },
  {
    file: 'temporal/zz.ts',
    may: ["'@temporalio/client'", "'../contracts/workflow-io.ts'"],
    never: ["'../db/tasks.ts'", "'../domain/policy.ts'", "'../workflows/task.ts'", ...everyProgram],
  },
  {
    file: 'outbound/zz.ts',
    may: ["'ipaddr.js'", "'node:http'", "'node:dns/promises'", "'./port.ts'"],
    never: [
      "'zod'",
      "'undici'",
      "'../contracts/errors.ts'",
      "'../db/tasks.ts'",
      "'../domain/policy.ts'",
      "'../config.ts'",
      ...everyProgram,
    ],
  },
  {
    file: 'client/zz.ts',
    may: ["'zod'", "'../contracts/route.ts'", "'./server-events.ts'"],
    never: [
      "'node:fs'",
      "'../db/tasks.ts'",
      "'../cli/main.ts'",
      "'../config.ts'",
      "'../log.ts'",
      ...everyProgram,
    ],
  },
  {
    file: 'stack/zz.ts',
    may: [
      "'../config.ts'",
      "'../config/variables.ts'",
      "'../db/migrate.ts'",
      "'../temporal/options.ts'",
      "'../client/api-client.ts'",
      "'./ports.ts'",
    ],
    never: [
      "'../temporal/client.ts'",
      "'../db/tasks.ts'",
      "'../domain/policy.ts'",
      "'../cli/main.ts'",
      "'../agent/home.ts'",
      ...everyProgram,
    ],
  },
  {
    file: 'cli/commands/zz.ts',
    may: [
      "'commander'",
      "'../../config.ts'",
      "'../../stack/development.ts'",
      "'../../db/migrate.ts'",
      "'../../api/main.ts'",
    ],
    never: [
      "'../../domain/policy.ts'",
      "'../../api/app.ts'",
      "'../../db/tasks.ts'",
      "'../../test/support/http.ts'",
    ],
  },
];

describe('the import table', () => {
  const folder = mkdtempSync(join(tmpdir(), 'steelthread-lint-'));
  let refused = new Map<string, Set<number>>();
  let refusedEnvironment = new Set<string>();

  beforeAll(() => {
    for (const file of ['biome.json', 'biome.workflows.grit'])
      copyFileSync(join(root, file), join(folder, file));
    for (const row of rows) {
      const lines = [...row.may, ...row.never].map((source, index) => `import { v${index} } from ${source};`);
      const names = lines.map((_, index) => `v${index}`).join(', ');
      write(row.file, [...lines, `export const all = [${names}];`]);
    }
    write('workflows/types.ts', [
      "import type { TaskView } from '../contracts/tasks.ts';",
      "import type { Activities } from '../activities/index.ts';",
      'export type Both = TaskView | Activities;',
    ]);
    for (const file of ['domain/env.ts', 'config.ts']) write(file, ['export const home = process.env.HOME;']);
    const { stdout, stderr } = spawnSync(
      biome,
      ['lint', '--vcs-enabled=false', '--reporter=github', '--max-diagnostics=none', '.'],
      { cwd: folder, encoding: 'utf8' },
    );
    refused = readAnnotations(stdout, /title=(?:lint\/style\/noRestrictedImports|plugin),/);
    refusedEnvironment = new Set(readAnnotations(stdout, /title=lint\/style\/noProcessEnv,/).keys());
    expect(stderr).toMatch(/Some errors were emitted/);
  });

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  function write(file: string, lines: string[]): void {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), `${lines.join('\n')}\n`);
  }

  /** Lines of each file that were refused, from lines such as `::error title=…,file=…,line=3,…::message`. */
  function readAnnotations(output: string, title: RegExp): Map<string, Set<number>> {
    const found = new Map<string, Set<number>>();
    for (const annotation of output.split('\n').filter((line) => title.test(line))) {
      const path = /file=([^,]+)/.exec(annotation)?.[1] ?? '';
      const file = path.replace(/^.*?steelthread-lint-[^/]+\//, '');
      const lines = found.get(file) ?? new Set();
      lines.add(Number(/line=(\d+)/.exec(annotation)?.[1]));
      found.set(file, lines);
    }
    return found;
  }

  it.each(rows)('holds for $file', ({ file, may, never }) => {
    const flagged = refused.get(file) ?? new Set();
    const sources = [...may, ...never];
    expect(sources.filter((_, index) => flagged.has(index + 1))).toEqual(never);
  });

  it('lets workflows import types of contracts and activities', () => {
    expect(refused.get('workflows/types.ts')).toBeUndefined();
  });

  it('lets only the configuration read the environment', () => {
    expect([...refusedEnvironment]).toEqual(['domain/env.ts']);
  });
});
