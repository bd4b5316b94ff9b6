import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { OpenApiDocument } from '../../contracts/openapi.ts';

/** `METHOD path` of every operation in the document, sorted. */
export function operationsOf(document: OpenApiDocument): string[] {
  const operations = Object.entries(document.paths).flatMap(([template, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${template}`),
  );
  return operations.sort();
}

/** What `redocly lint` has against the document: one text for each problem. */
export async function lintOpenApi(document: OpenApiDocument): Promise<string[]> {
  const folder = await mkdtemp(path.join(tmpdir(), 'steelthread-openapi-'));
  try {
    await writeFile(path.join(folder, 'openapi.json'), JSON.stringify(document));
    await writeFile(path.join(folder, 'redocly.yaml'), lintRules);
    const output = await redocly(folder);
    const { problems } = JSON.parse(output) as {
      problems: { ruleId: string; message: string; location?: unknown }[];
    };
    return problems.map(({ ruleId, message }) => `${ruleId}: ${message}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * The recommended rules; probes and pages have no errors of the client, `/docs/{asset}` stands beside `/docs`, and
 * `/apidocs` only leads there.
 * The schema of an event is referred to in `x-event-data`, which the linter does not read.
 */
const lintRules = `extends: [recommended]
rules:
  operation-2xx-response: off
  operation-4xx-response: off
  no-ambiguous-paths: off
  no-unused-components: off
  tag-description: off
  no-server-example.com: off
`;

/** Exits with 1 when there are problems, so only the output counts. */
function redocly(folder: string): Promise<string> {
  const require = createRequire(import.meta.url);
  const program = path.join(path.dirname(require.resolve('@redocly/cli/package.json')), 'bin/cli.js');
  const environment = { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' };
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      [program, 'lint', 'openapi.json', '--format=json'],
      { cwd: folder, env: environment, timeout: 50_000 },
      (error, stdout, stderr) => {
        if (stdout.trimStart().startsWith('{')) resolve(stdout);
        else reject(new Error(`redocly said nothing usable: ${stderr}`, { cause: error }));
      },
    );
  });
}
